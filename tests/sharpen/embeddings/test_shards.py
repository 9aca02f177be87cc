"""The cache under kills, damage and several writers: no shard is half, and nothing finished is computed again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sharpen.embeddings import embed_texts, writer
from sharpen.embeddings.shards import KEYS, VECTORS, ShardFolder
from tests.sharpen.embeddings.counting import TEXTS, Counted, cache, shards

__all__ = ["cache"]  # the fixture
pytestmark = pytest.mark.model


@pytest.mark.parametrize("ending", [KEYS, VECTORS])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_shard_is_noticed_and_made_again(
    tiny_model: Path, cache: Path, capsys: pytest.CaptureFixture[str], ending: str, damage: str
) -> None:
    counted = Counted(tiny_model)
    expected = embed_texts(counted.encoder, TEXTS[:40], "passage")
    (damaged,) = shards(cache, ending)
    counted.computed(TEXTS[40:])
    content = bytearray(damaged.read_bytes())
    content[-5] ^= 1
    damaged.write_bytes(content if damage == "flip" else content[:-8])
    if damage == "gone":
        damaged.unlink()
    capsys.readouterr()
    assert counted.computed(TEXTS) == 40
    said = capsys.readouterr().out
    assert (damage, ending) == ("gone", KEYS) or "removed and made again" in said
    np.testing.assert_allclose(embed_texts(counted.encoder, TEXTS[:40], "passage"), expected, atol=1e-6)
    assert Counted(tiny_model).computed(TEXTS) == 0


def test_shards_are_written_as_the_work_goes_and_none_is_half(
    tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was finished when the work broke off is not computed again."""
    monkeypatch.setattr(writer, "SHARD_BYTES", 1)
    monkeypatch.setattr("sharpen.models.micro_batches.CPU_PIECE", 64)
    whole = embed_texts(Counted(tiny_model, vector_cache="off").encoder, TEXTS, "passage")
    counted = Counted(tiny_model)
    forward, calls = counted.encoder.forward, []

    def broken(input_ids: torch.Tensor, *others: Any, **more: Any) -> torch.Tensor:
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(len(input_ids))
        return forward(input_ids, *others, **more)

    counted.encoder.forward = broken  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        embed_texts(counted.encoder, TEXTS, "passage")
    assert len(shards(cache)) == len(shards(cache, KEYS)) == 5
    again = Counted(tiny_model)
    assert again.computed(TEXTS) == len(TEXTS) - sum(calls)
    np.testing.assert_array_equal(embed_texts(again.encoder, TEXTS, "passage"), whole)


def test_leftovers_of_killed_writers_are_no_shards_and_go_when_they_are_old(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path / "shards", {}, 2)
    name = folder.add(np.array([b"k" * 16]), np.ones((1, 2)))
    half, fresh = folder.vectors_path("left-behind"), folder.folder / ".shard.writing-0123"
    shutil.copy(folder.vectors_path(name), half)
    fresh.mkdir()
    folder.collect_garbage()
    assert half.exists() and fresh.exists() and folder.names() == [name]
    for path in (half, fresh):
        os.utime(path, (0, 0))
    folder.collect_garbage()
    assert not half.exists() and not fresh.exists() and folder.names() == [name]


PROGRAM = """
    import sys
    import numpy as np
    from sharpen.models import micro_batches
    from sharpen.models.encoder import Encoder
    from sharpen.settings import EncoderSettings
    from sharpen.embeddings import embed_texts, writer
    from tests.sharpen.embeddings.counting import TEXTS

    model, pause, out = sys.argv[1:]
    micro_batches.CPU_PIECE, writer.SHARD_BYTES = 64, 1
    settings = {"precision": "fp32", "passage_max_len": 32, "query_max_len": 32}
    encoder = Encoder.load(model, EncoderSettings.checked(settings), device="cpu")
    whole = encoder.forward
    count = 0

    def forward(input_ids, *others, **more):
        global count
        import time

        count += len(input_ids)
        time.sleep(float(pause))
        return whole(input_ids, *others, **more)

    encoder.forward = forward
    vectors = embed_texts(encoder, TEXTS, "passage")
    np.save(out, vectors)
    print("computed", count)
"""


def started(tmp_path: Path, model: Path, pause: float, out: Path) -> subprocess.Popen[str]:
    program = tmp_path / "encode.py"
    program.write_text(textwrap.dedent(PROGRAM))
    return subprocess.Popen(
        [sys.executable, str(program), str(model), str(pause), str(out)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.processes
def test_a_killed_run_resumes_where_it_was(
    tiny_model: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sharpen.models.micro_batches.CPU_PIECE", 64)
    whole = embed_texts(Counted(tiny_model, vector_cache="off").encoder, TEXTS, "passage")
    first = started(tmp_path, tiny_model, 0.3, tmp_path / "first.npy")
    deadline = time.monotonic() + 60
    while len(shards(cache, KEYS)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=30)
    kept = sum(len(np.load(path)) for path in shards(cache, KEYS))
    assert first.returncode == -signal.SIGKILL and 0 < kept < len(TEXTS)
    counted = Counted(tiny_model)
    assert counted.computed(TEXTS) == len(TEXTS) - kept
    np.testing.assert_array_equal(embed_texts(counted.encoder, TEXTS, "passage"), whole)


@pytest.mark.processes
def test_two_processes_at_once_agree_and_leave_a_sound_cache(tiny_model: Path, tmp_path: Path, cache: Path) -> None:
    outs = [tmp_path / "one.npy", tmp_path / "two.npy"]
    both = [started(tmp_path, tiny_model, 0.02, out) for out in outs]
    assert [process.wait(timeout=600) for process in both] == [0, 0]
    np.testing.assert_array_equal(np.load(outs[0]), np.load(outs[1]))
    counted = Counted(tiny_model)
    np.testing.assert_array_equal(embed_texts(counted.encoder, TEXTS, "passage"), np.load(outs[0]))
    assert counted.texts == 0
    assert {path.name.partition(".")[2] for path in cache.glob("*/*")} == {"json", KEYS[1:], VECTORS[1:]}


def test_a_folder_that_vanished_under_a_run_is_made_anew(
    tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SHARD_BYTES", 1)
    monkeypatch.setattr("sharpen.models.micro_batches.CPU_PIECE", 64)
    counted = Counted(tiny_model)
    expected = embed_texts(counted.encoder, TEXTS, "passage")
    (folder,) = cache.iterdir()
    shutil.rmtree(folder)
    whole, written = ShardFolder.add, []

    def add(self: ShardFolder, keys: np.ndarray, vectors: np.ndarray) -> str:
        if len(written) == 2:
            shutil.rmtree(self.folder)
        written.append(len(keys))
        return whole(self, keys, vectors)

    monkeypatch.setattr(ShardFolder, "add", add)
    np.testing.assert_allclose(embed_texts(counted.encoder, TEXTS, "passage"), expected, atol=1e-6)
    assert sum(written) == len(TEXTS) + sum(written[:2])  # what was removed is computed again
    assert counted.computed(TEXTS) == 0 and (folder / "encoder.json").exists()
