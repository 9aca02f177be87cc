"""`sharpen gc`: shows first, deletes with --yes, and says why it leaves what it leaves."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pipeline.cli import app
from sharpen.registry.retention import running
from sharpen.store import storage


def test_it_shows_first_and_deletes_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "store"
    old = root / "runs" / "old" / "data"
    with storage.publish(str(old), producer="data_prep") as folder:
        (folder / "rows").write_bytes(b"x" * 2**20)
    dead = root / "runs" / "dead" / ".model.writing-0123456789ab"
    dead.mkdir(parents=True)
    before = time.time() - 40 * 86_400
    for path in (*old.iterdir(), dead):
        os.utime(path, (before, before))

    def gc(*arguments: str) -> list[str]:
        capsys.readouterr()
        app(["gc", "--store", str(root), *arguments], standalone_mode=False)
        return capsys.readouterr().out.splitlines()

    leftover, run, total = gc()
    assert leftover.split()[0] == "leftovers" and leftover.endswith(f"40 days  {dead}")
    assert run.split()[:2] == ["runs", "data_prep"] and run.endswith(f"1.0 MiB    40 days  {old}")
    assert total == "2 would be deleted, 1.0 MiB; sharpen gc --yes deletes them"
    assert old.is_dir() and dead.is_dir()
    assert gc("--days", "50", "--leftover-days", "50") == ["nothing to delete"]
    running.begin(str(root), "run-1")
    assert gc("--only", "runs") == ["runs and versions are left, as a run goes on: run-1", "nothing to delete"]
    running.end(str(root), "run-1")
    assert gc("--only", "runs", "--yes")[-1] == "1 deleted, 1.0 MiB"
    assert not old.exists() and dead.is_dir()
    assert gc("--yes")[-1] == "1 deleted, 0.0 MiB"
    assert not dead.exists()
