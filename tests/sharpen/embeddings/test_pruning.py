"""Which vectors go when the cache is full, and which never do."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from sharpen.embeddings import writer
from sharpen.embeddings.pruning import prune
from sharpen.embeddings.shards import VECTORS, ShardFolder
from sharpen.store import local_store
from tests.sharpen.embeddings.counting import TEXTS, Counted, cache

__all__ = ["cache"]  # the fixture
pytestmark = pytest.mark.model


def folder_used(root: Path, name: str, ago: float, size: int = 1000) -> Path:
    folder = root / name
    ShardFolder(folder, {}, 2)
    (folder / f"x{VECTORS}").write_bytes(b"x" * size)
    os.utime(folder / "encoder.json", (time.time() - ago,) * 2)
    return folder


def test_encoders_that_were_not_used_for_longest_go_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [folder_used(tmp_path, str(hours), hours * 3600) for hours in (5, 3, 2, 0)]
    prune(tmp_path, 10_000)
    assert all(folder.exists() for folder in folders)
    prune(tmp_path, 2_500)
    assert [folder.exists() for folder in folders] == [False, False, True, True]
    assert capsys.readouterr().out.count("note: removed vectors") == 2
    prune(tmp_path, 0)
    assert [folder.exists() for folder in folders] == [False, False, False, True]  # in use


def test_the_cache_stays_below_the_size_that_was_set(tiny_model: Path, cache: Path) -> None:
    Counted(tiny_model).computed(TEXTS)
    (old,) = cache.iterdir()
    os.utime(old / "encoder.json", (0, 0))
    counted = Counted(tiny_model, vector_cache_gib=0.0, passage_max_len=31)
    assert counted.computed(TEXTS) == len(TEXTS)
    assert not old.exists()
    assert counted.computed(TEXTS) == 0


def test_a_run_of_hours_keeps_its_folder(tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that was loaded hours ago and still writes is not removed by another run that makes room."""
    monkeypatch.setattr(writer, "SHARD_BYTES", 1)
    monkeypatch.setattr("sharpen.models.micro_batches.CPU_PIECE", 64)
    whole, written = ShardFolder.add, []

    def add(self: ShardFolder, keys: np.ndarray, vectors: np.ndarray) -> str:
        os.utime(self.folder / "encoder.json", (0, 0))  # the last shard was long ago
        name = whole(self, keys, vectors)
        prune(cache, 0)
        written.append(len(keys))
        return name

    monkeypatch.setattr(ShardFolder, "add", add)
    assert Counted(tiny_model).computed(TEXTS) == sum(written) == len(TEXTS)
    assert len(written) > 3


def test_what_comes_into_use_while_room_is_made_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (folder_used(tmp_path, name, ago) for name, ago in (("first", 8000), ("second", 7000)))
    whole = local_store.delete

    def delete(folder: Path) -> None:
        whole(folder)
        os.utime(second / "encoder.json")

    monkeypatch.setattr(local_store, "delete", delete)
    prune(tmp_path, 0)
    assert (first.exists(), second.exists()) == (False, True)


def test_reading_a_cache_notes_that_it_is_in_use(tiny_model: Path, cache: Path) -> None:
    Counted(tiny_model).computed(TEXTS)
    (folder,) = cache.iterdir()
    os.utime(folder / "encoder.json", (0, 0))
    Counted(tiny_model).computed(TEXTS)
    assert time.time() - (folder / "encoder.json").stat().st_mtime < 100
