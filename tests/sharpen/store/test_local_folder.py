"""Local outputs: what others put into them stays, and whatever is interrupted, the old or the new folder is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sharpen.errors import StepFailed
from sharpen.store import local_folder, storage
from sharpen.store.local_store import is_internal_file
from tests.sharpen.registry.killed_promotions import die_at, in_a_child, watch_disk


def publish(target: Path, files: dict[str, str]) -> None:
    with storage.publish(str(target), producer="a step") as folder:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != storage.MARKER and not is_internal_file(path.name)
    }


@pytest.fixture(params=["exchange", "two renames"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An output, on a file system that can exchange two folders and on one that cannot."""
    if request.param == "two renames":
        monkeypatch.setattr(local_folder, "_exchanged", lambda *_: False)
    yield tmp_path / "an output"
    assert [path.name for path in tmp_path.iterdir()] == ["an output"]


def test_the_files_of_others_stay(target: Path) -> None:
    publish(target, {"a": "1", "b/c": "1", "gone": "1"})
    (target / "notes").write_text("mine")
    (target / "b" / "more").write_text("mine")
    publish(target, {"a": "2", "b/c": "2"})
    assert content(target) == {"a": "2", "b/c": "2", "notes": "mine", "b/more": "mine"}
    publish(target, {"a": "3"})
    assert content(target) == {"a": "3", "notes": "mine", "b/more": "mine"}
    storage.open_artifact(str(target))


def test_a_file_that_is_in_the_way_gets_another_name(target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(target, {"a": "1"})
    (target / "a").write_text("changed by hand")
    (target / "b").write_text("mine")
    publish(target, {"a": "2", "b/c": "2"})
    assert content(target) == {"a": "2", "b/c": "2", "a.before": "changed by hand", "b.before": "mine"}
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(f"{target}: ")[2].partition(":")[0] for line in told] == ["a -> a.before", "b -> b.before"]
    (target / "a").write_text("again")
    publish(target, {"a": "3"})
    assert content(target)["a.before-2"] == "again"


def test_an_old_folder_stays_when_the_new_one_cannot_be_put_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x"
    publish(target, {"a": "1"})
    with pytest.raises(StepFailed, match="wrote no files"):
        publish(target, {})
    assert content(target) == {"a": "1"}


def test_whatever_write_a_kill_hits_the_old_or_the_new_folder_is_there(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    publish(source, {"a": "2", "b/c": "2", "d": "2"})
    seen, number, ended = set(), 1, -9
    while ended == -9:
        publish(target, {"a": "1", "b/c": "1"})
        (target / "notes").write_text("mine")

        def copy(number: int = number) -> None:
            watch_disk(die_at(number))
            storage.copy_artifact(str(source), str(target))

        ended = in_a_child(copy)
        storage.open_artifact(str(target))
        found = content(target)
        assert found.pop("notes") == "mine"
        assert found in ({"a": "1", "b/c": "1"}, {"a": "2", "b/c": "2", "d": "2"}), (number, found)
        seen.add(found["a"])
        number += 1
    assert ended == 0 and seen == {"1", "2"}
    assert number > 12


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    """An output on another disk, for example."""
    (tmp_path / "disk" / "x").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk" / "x")
    for text in ("1", "2"):
        publish(link, {"a": text})
        assert link.is_symlink()
        assert content(tmp_path / "disk" / "x") == content(link) == {"a": text}
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["x"]
