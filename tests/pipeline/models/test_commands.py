"""`sharpen models`: what waits, other names, what a version was made of, in what two differ, and copies for a hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sharpen.notifications import WEBHOOK_VARIABLE
from sharpen.registry import approval, registry
from sharpen.store import storage
from tests.models_command import Done, sharpen_models
from tests.sharpen.http_recorder import recorder

NAME = "code-search"


def training(rate: float) -> dict[str, Any]:
    return {
        "base_model": "hub/base",
        "data": "s3://bucket/runs/1/data",
        "negatives": "",
        "data_fingerprint": f"data-{rate}",
        "counts": {"queries": int(rate * 1e7)},
        "settings": {"learning_rate": rate, "epochs": 3},
        "encoder": {"query_max_len": 64},
    }


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registry with a champion, and a version that waits."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(WEBHOOK_VARIABLE, raising=False)
    root = str(tmp_path / "registry")
    for number, rate in ((1, 1e-5), (2, 2e-5)):
        model = storage.join(root, "runs", str(number), "finetuning")
        with storage.publish(model, producer="finetuning") as folder:
            (folder / "model.safetensors").write_text(f"w{number}")
            (folder / "README.md").write_text("---\nlibrary_name: sentence-transformers\n---\n# A model\n")
            (folder / "training.json").write_text(json.dumps(training(rate)))
        facts = {
            "metrics": {"ndcg_at_10": 0.5 + number / 100},
            "evaluation": f"{root}/runs/{number}/evaluation",
            "comparison": {"base": {"model": "hub/base"}},
            "gate": {"verdict": "promote", "reasons": ["gain +0.0100"]},
            "settings": {"min_gain": 0.0},
            "code_version": "1.0+abc",
            "data_fingerprint": f"data-{rate}",
        }
        registry.register(root, NAME, model, facts, run_id=f"run-{number}")
    registry.promote(root, NAME, "v0001", reason="good")
    approval.request(root, NAME, "v0002", compared_with="v0001", evaluation="e", reasons=["gain +0.0100"])
    return root


def done(root: str, *arguments: str, code: int = 0) -> Done:
    ended = sharpen_models(*arguments, "--store", root)
    assert ended.code == code, ended
    return ended


def test_what_waits_is_shown_and_ends_by_a_decision(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "code-search v0002 waits for approval: sharpen models approve code-search v0002, or reject"
    assert line in done(root, "list").out and line in done(root, "show", NAME).out
    with recorder() as server:
        monkeypatch.setenv(WEBHOOK_VARIABLE, f"{server.url}/secret")
        out = done(root, "approve", NAME, "v0002", "--by", "Ann", "--message", "cloudevents").out
        assert out == f"{NAME}: champion is now v0002\nnext: sharpen index {NAME}\n"
        ((_, _, body),) = server.requests
    sent = json.loads(body)
    assert sent["type"] == "io.github.sharpen.model.promoted" and "approved by Ann" in sent["data"]["summary"]
    # the gate's reasons are lines of their own
    assert ";" not in sent["data"]["summary"] and sent["data"]["reasons"]
    assert "waits" not in done(root, "list").out
    assert "approved by Ann" in done(root, "show", NAME).out
    assert "has become the champion" in done(root, "reject", NAME, "v0002", code=2).err


def test_a_decision_needs_a_name_and_the_right_champion(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.promote(root, NAME, "v0002", reason="by hand")
    approval.request(root, NAME, "v0001", compared_with="v0001", evaluation="e2", reasons=[])
    # promoted before, so it does not wait any more
    assert approval.waiting(root, NAME) == {}
    monkeypatch.setattr("getpass.getuser", lambda: "the-user")
    assert "compared with v0001, but v0002 is the champion now" in done(root, "approve", NAME, "v0001", code=3).err
    registry.rollback(root, NAME)
    approval.request(root, NAME, "v0002", compared_with="v0001", evaluation="e3", reasons=[])
    assert "v0002 was rejected by the-user at 20" in done(root, "reject", NAME, "v0002", "--comment", "slow").out


def test_aliases(root: str, tmp_path: Path) -> None:
    assert done(root, "alias", NAME, "v0002", "staging").out == f"{NAME}: staging is v0002\n"
    assert "staging v0002" in done(root, "list").out and "v0002  " in done(root, "show", NAME).out
    assert done(root, "show", NAME, "staging").out.startswith("v0002  ")
    done(root, "pull", NAME, "staging", "--to", str(tmp_path / "pulled"))
    assert (tmp_path / "pulled" / "model.safetensors").read_text() == "w2"
    assert done(root, "alias", NAME, "v0001", "staging").out == f"{NAME}: staging is v0001, it was v0002\n"
    done(root, "unalias", NAME, "staging")
    assert "no alias staging; there are: none" in done(root, "unalias", NAME, "staging", code=2).err
    for wrong in ("champion", "v0003", "Up"):
        assert "cannot be an alias" in done(root, "alias", NAME, "v0001", wrong, code=2).err
    assert "no version 'v0009'" in done(root, "alias", NAME, "v0009", "staging", code=2).err
    assert "no version 'nowhere'" in done(root, "show", NAME, "nowhere", code=2).err


def test_lineage_and_differences(root: str) -> None:
    text = done(root, "show", NAME, "v0001").out
    for part in (
        "by run run-1",
        "code:                    1.0+abc",
        "data:",
        "model:                   hub/base",
        "compared with base:      hub/base",
        "  - gain +0.0100",
        "learning_rate",
        "ndcg_at_10",
    ):
        assert part in text
    lines = [line.split() for line in done(root, "diff", NAME, "v0001", "v0002").out.splitlines()]
    assert lines == [
        ["settings", "(v0001", "->", "v0002):"],
        ["training.learning_rate", "1e-05", "->", "2e-05"],
        ["data", "(v0001", "->", "v0002):"],
        ["fingerprint", "data-1e-05", "->", "data-2e-05"],
        ["queries", "100", "->", "200", "(+100)"],
        ["metrics", "(v0001", "->", "v0002):"],
        ["ndcg_at_10", "0.51", "->", "0.52", "(+0.01)"],
    ]
    assert "do not differ" in done(root, "diff", NAME, "v0001", "champion").out


def test_a_hubs_folder_has_the_model_and_nothing_of_this_registry(root: str, tmp_path: Path) -> None:
    target = tmp_path / "hub" / "folder"
    out = done(root, "export", NAME, "v0002", str(target)).out
    assert "hf upload" in out
    files = {path.name: path.read_text() for path in target.iterdir()}
    assert set(files) == {"model.safetensors", "README.md", ".gitattributes"}
    assert files["README.md"].startswith("---\nlibrary_name:") and "lfs" in files[".gitattributes"]
    assert "not empty" in done(root, "export", NAME, str(target), code=2).err
    assert "lies in the registry itself" in done(root, "export", NAME, f"{root}/models/x", code=2).err
    done(root, "export", NAME, str(tmp_path / "champion"))
    assert (tmp_path / "champion" / "model.safetensors").read_text() == "w1"
    assert [path.name for path in (tmp_path / "hub").iterdir()] == ["folder"]
    assert "a version and one folder" in done(root, "export", NAME, "v0001", "a", "b", code=2).err
