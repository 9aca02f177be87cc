"""Every kind of damage to a registry's files, and every command of `sharpen models`: one line, never a traceback."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sharpen.registry import registry
from sharpen.store import storage
from tests.models_command import sharpen_models

NAME = "code-search"
COMMANDS = {
    "list": (),
    "show": (NAME,),
    "pull": (NAME,),
    "promote": (NAME, "v0001"),
    "rollback": (NAME,),
}
FILES = {
    "pointer": "champion.json",
    "marker": "versions/v0002/_SUCCESS.json",
    "provenance": "versions/v0002/provenance.json",
    "claim": "claims/v0002.json",
    "record": "last_run.json",
}
VALUES = [None, True, 7, -1, 1.5, 10**400, "", "x", "\x1b[31mred", "../../x", [], [1], {}, {"x": 1}]
TEXTS = [
    b"",
    b"{",
    b"null",
    b"true",
    b"7",
    b'"x"',
    b"[]",
    b"{}",
    b"[[]]",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b"NaN",
    b"9" * 5000,
    b'{"version": "v0001"}',
    b"\0",
    "{}".encode("utf-16"),
    b'{"files": 7}',
]


def damages(text: bytes) -> Iterator[tuple[str, bytes | None]]:
    """What may have become of a file: None where it is gone."""
    yield "gone", None
    for number, other in enumerate(TEXTS):
        yield f"text {number}", other
    yield "cut", text[: len(text) // 2]
    for number in range(5):
        flipped = bytearray(text)
        flipped[random.Random(number).randrange(len(text))] ^= 0x15
        yield f"flipped {number}", bytes(flipped)
    values = json.loads(text)
    for path in _paths(values):
        for value in VALUES:
            changed = copy.deepcopy(values)
            _put(changed, path, value)
            yield f"{path} = {str(value)[:20]!r}", json.dumps(changed).encode()
        without = copy.deepcopy(values)
        _put(without, path, None, drop=True)
        yield f"without {path}", json.dumps(without).encode()
    yield "NaN inside", text.replace(b"0.5", b"NaN")
    yield "infinite inside", text.replace(b"0.5", b"1e999")


def _paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from _paths(inner, (*at, key))


def _put(value: Any, path: tuple[Any, ...], new: Any, *, drop: bool = False) -> None:
    for key in path[:-1]:
        value = value[key]
    if drop:
        del value[path[-1]]
    else:
        value[path[-1]] = new


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with two versions, on a disk."""
    root = tmp_path_factory.mktemp("whole")
    for number in (1, 2):
        model = str(root / "runs" / str(number))
        with storage.publish(model, producer="finetuning") as folder:
            (folder / "model.safetensors").write_text(f"w{number}")
        version = registry.register(str(root), NAME, model, {"metrics": {"ndcg_at_10": 0.5}}, run_id="r")
        registry.promote(str(root), NAME, version.version, reason="good", evaluation=f"s3://b/{number}")
    seen = {"identity": {"code": "c"}, "content": "c", "count": 1, "examples": "s3://b/examples/x.u64"}
    record = {"run_id": "r", "finished_at": "", "verdict": "promote", "version": "v0002", "seen": seen}
    storage.write_json(str(root / "models" / NAME / "last_run.json"), record)
    shutil.rmtree(root / "runs")
    return root


@pytest.mark.parametrize("file", FILES)
def test_damage_is_told_in_one_line_and_never_gives_a_wrong_model(
    whole: Path, tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHARPEN_OUTCOME", raising=False)
    root = tmp_path / "root"
    shutil.copytree(whole, root)
    place, folder = root / "models" / NAME / FILES[file], root / "models" / NAME
    text, pointer = place.read_bytes(), (folder / "champion.json").read_bytes()
    # all of them, some 100 a file, take minutes
    for what, data in random.Random(7).sample(list(damages(text)), 5):
        for command, arguments in COMMANDS.items():
            (folder / "champion.json").write_bytes(pointer)
            place.unlink(missing_ok=True)
            if data is not None:
                place.write_bytes(data)
            target = tmp_path / "pulled"
            options = ("--to", str(target)) if command == "pull" else ()
            code, out, err = sharpen_models(command, *arguments, "--store", str(root), *options)
            told = (what, command, code, out, err)
            assert "Traceback" not in err and "\x1b" not in out + err, told
            assert code in (0, 1, 2) and len(err.splitlines()) == (code != 0), told
            if command == "pull" and code == 0:
                weights = (target / "model.safetensors").read_text()
                assert weights in ("w1", "w2"), told
                assert weights == "w2" or file == "pointer", told
                shutil.rmtree(target)
            place.write_bytes(text)


def test_a_model_that_is_promoted_again_is_promoted_beside_a_damaged_version(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(whole, root)
    (root / "models" / NAME / "versions" / "v0001" / "_SUCCESS.json").write_text("{")
    model = str(root / "runs" / "3")
    with storage.publish(model, producer="finetuning") as folder:
        (folder / "model.safetensors").write_text("w3")
    assert registry.register(str(root), NAME, model, {}, run_id="r").version == "v0003"


def test_escape_codes_of_a_reason_do_not_reach_the_terminal(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(whole, root)
    pointer = root / "models" / NAME / "champion.json"
    pointer.write_text(json.dumps({**json.loads(pointer.read_text()), "reason": "\x1b]0;title\x07good [/b] \u202e"}))
    code, out, err = sharpen_models("show", NAME, "--store", str(root))
    assert (code, err) == (0, "")
    assert "reason:  \\x1b]0;title\\x07good [/b] \\u202e" in out


def test_a_damaged_pointer_hides_no_other_model(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(whole, root)
    shutil.copytree(root / "models" / NAME, root / "models" / "another")
    (root / "models" / "another" / "champion.json").write_text("{")
    code, out, err = sharpen_models("list", "--store", str(root))
    assert code == 2 and err.count("\n") == 1 and "another/champion.json: damaged" in err
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["another", "damaged"], [NAME, "v0002"]]
