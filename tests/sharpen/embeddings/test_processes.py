"""Encoding on several real processes: the same vectors, each text computed by one of them."""

from __future__ import annotations

import os
import tempfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sharpen.embeddings import LazyEncoder, embed, embed_passages, embed_texts
from sharpen.embeddings.cache import open_cache
from sharpen.embeddings.encoding import encode
from sharpen.embeddings.sharding import Shard
from sharpen.embeddings.shards import KEYS
from sharpen.embeddings.workers import processes
from sharpen.embeddings.workers.request import Request
from sharpen.embeddings.workers.worker import work
from sharpen.errors import StepFailed
from sharpen.settings import EncoderSettings
from tests.sharpen.embeddings.by_hand import words
from tests.sharpen.embeddings.counting import Counted

pytestmark = [pytest.mark.model]

WORDS = "river tree moon milk winter train doctor yellow number sugar".split()
TEXTS = [f"{WORDS[number % 10]} {number}{' sea' * (number % 23)}" for number in range(700)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "a cache"))
    monkeypatch.setattr(embed, "MIN_TEXTS_TO_CACHE", 1)
    return tmp_path / "a cache" / "vectors"


@pytest.mark.processes
def test_two_processes_give_bit_for_bit_what_one_gives(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "MIN_TOKENS_PER_PROCESS", {"cpu": 10, "cuda": 10})
    monkeypatch.setattr(embed, "MIN_TEXTS_TO_CACHE", 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    instructions = ["find " if number % 3 else None for number in range(len(TEXTS))]
    found = []
    for number in (1, 2):
        place = tmp_path / f"a cache of {number}"
        few = Counted(tiny_model, vector_cache=str(place), encoding_processes=1)
        counted = Counted(tiny_model, vector_cache=str(place), encoding_processes=number)
        # a part is there already, so that the places of the others have gaps
        embed_texts(few.encoder, TEXTS[100:130], "query", instructions[100:130])
        found.append(embed_texts(counted.encoder, TEXTS, "query", instructions))
        kept = [np.load(path) for path in place.glob(f"*/*{KEYS}")]
        assert len(kept) == 1 + number and sum(map(len, kept)) == len(TEXTS)  # every text by one process
        assert counted.texts == (len(TEXTS) - 30 if number == 1 else 0)
    assert "Encoding queries on 2 processes: 100 %" in capsys.readouterr().out
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], encode(few.encoder, TEXTS, "query", instructions), atol=1e-6)
    assert not list(tmp_path.rglob("*writing*"))


@pytest.mark.processes
def test_without_a_cache_several_processes_encode_too_and_leave_nothing(
    tiny_model: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "MIN_TOKENS_PER_PROCESS", {"cpu": 2_000, "cuda": 2_000})
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    (tmp_path / "temporary files").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary files"))
    counted = Counted(tiny_model, vector_cache="off", encoding_processes=2, passage_windows="mean", window_overlap=8)
    # two hundred windows for two processes; the texts, the long one cut, are too little for two
    texts = [*TEXTS[:100], *TEXTS[:50], words(4_800, 1)]
    found = embed_passages(counted.encoder, texts).vectors
    assert counted.texts == 101 and "Encoding passages on 2 processes: 100 %" in capsys.readouterr().out
    alone = Counted(tiny_model, vector_cache="off", passage_windows="mean", window_overlap=8)
    np.testing.assert_array_equal(found, embed_passages(alone.encoder, texts).vectors)
    np.testing.assert_allclose(found[:-1], encode(counted.encoder, texts[:-1], "passage"), atol=1e-6)
    assert not cache.exists() and not list((tmp_path / "temporary files").iterdir())


def asked(counted: Counted, folder: Path) -> Path:
    """A request to encode ten texts with this encoder, as `work` receives it."""
    shards = open_cache(LazyEncoder.of(counted.encoder), "passage")
    assert shards is not None
    folder.mkdir()
    Request.of(counted.encoder, shards.folder.name, TEXTS, "passage", None, np.arange(10), "auto").write(folder)
    return folder


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that a process of the job sets for itself."""
    for name in ("TOKENIZERS_PARALLELISM", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))


def test_one_process_of_a_job_keeps_what_it_was_asked_for(
    tiny_model: Path, tmp_path: Path, cache: Path, variables: None
) -> None:
    counted = Counted(tiny_model)
    work(asked(counted, tmp_path / "request"))
    assert counted.computed(TEXTS[:12]) == 2


def test_a_model_that_changed_meanwhile_is_not_used(
    tiny_model: Path, tmp_path: Path, cache: Path, variables: None
) -> None:
    counted = Counted(tiny_model)
    counted.encoder.model.embeddings.word_embeddings.weight.data[7] += 1
    with pytest.raises(StepFailed, match="the model was changed while it was in use; run again") as caught:
        work(asked(counted, tmp_path / "request"))
    assert "\n" not in str(caught.value) and not list(cache.glob(f"*/*{KEYS}"))


@pytest.mark.parametrize("instructions", [None, ["find ", None, ""]])
def test_a_request_is_read_as_it_was_written(tmp_path: Path, instructions: list[str | None] | None) -> None:
    texts = ["a\nb", "", "ü"]
    rows = np.array([0, 2])
    Request("a model", EncoderSettings.checked({"query_max_len": 7}), "id", "query", texts, instructions, rows).write(
        tmp_path
    )
    read = Request.read(tmp_path)
    assert (read.model, read.identity, read.kind, read.settings.query_max_len) == ("a model", "id", "query", 7)
    assert read.rows.tolist() == [0, 2] and read.texts == ["a\nb", "", "ü"]
    assert read.instructions == (["find ", None, ""] if instructions else None)


class Pretended(Shard):
    """A share among several whose lengths are known beforehand."""

    def __init__(self, rank: int, size: int, lengths: np.ndarray) -> None:
        super().__init__(rank, size)
        self.all = lengths

    def lengths(self, own: np.ndarray, total: int) -> np.ndarray:
        np.testing.assert_array_equal(own, self.all[self.rank :: self.size])
        return self.all[:total]


@pytest.mark.parametrize("size", [2, 3, 8])
def test_shares_are_whole_micro_batches_of_equal_tokens(size: int) -> None:
    generator = np.random.default_rng(3)
    lengths = generator.integers(1, 128, 3000)
    chunk = np.arange(10_000, 13_000)

    def tokens_of(rows: np.ndarray) -> list[np.ndarray]:
        return [np.zeros(lengths[row - 10_000], np.int32) for row in rows]

    alone = Shard().plan(chunk, tokens_of, 1024)
    works = [Pretended(rank, size, lengths).plan(chunk, tokens_of, 1024) for rank in range(size)]
    batches = {tuple(alone.rows[batch]) for batch in alone.batches}
    dealt = [tuple(own.rows[batch]) for own in works for batch in own.batches]
    assert len(dealt) == len(batches) and set(dealt) == batches
    for own in works:
        assert [len(tokens) for tokens in own.tokens] == lengths[own.rows - 10_000].tolist()
        assert own.tokens_of_all == lengths.sum()
    loads = [sum(map(len, own.tokens)) for own in works]
    assert max(loads) - min(loads) <= 2 * 1024


def test_more_processes_than_micro_batches() -> None:
    lengths = np.array([5, 4])

    def tokens_of(rows: np.ndarray) -> list[np.ndarray]:
        return [np.zeros(lengths[row], np.int32) for row in rows]

    works = [Pretended(rank, 4, lengths).plan(np.arange(2), tokens_of, 5) for rank in range(4)]
    assert [own.rows.tolist() for own in works] == [[0], [1], [], []]
    assert [len(own.batches) for own in works] == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("asked", "cores", "texts", "expected"),
    [(0, 8, 1000, 1), (4, 8, 1000, 4), (4, 2, 1000, 2), (4, 8, 30, 1), (4, 8, 100, 2), (4, 8, 0, 1)],
)
def test_as_many_processes_as_are_asked_for_have_a_core_and_enough_to_do(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, asked: int, cores: int, texts: int, expected: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
    monkeypatch.setattr(processes, "MIN_TOKENS_PER_PROCESS", {"cpu": 500, "cuda": 500})
    encoder = Counted(tiny_model, encoding_processes=asked).encoder
    assert processes.process_count(encoder, "passage", ["four" * 8] * texts, np.arange(texts)) == expected
    encoder.address = ""
    assert processes.process_count(encoder, "passage", ["four" * 8] * texts, np.arange(texts)) == 1


@pytest.mark.parametrize(
    ("asked", "gpus", "texts", "expected"),
    [
        (0, 4, 1000, 4),
        (3, 4, 1000, 3),
        (9, 4, 1000, 4),
        (0, 1, 1000, 1),
        (0, 8, 100, 2),
        (0, 8, 10, 1),
        (1, 4, 1000, 1),
    ],
)
def test_one_process_a_gpu_whatever_the_cores(
    monkeypatch: pytest.MonkeyPatch, asked: int, gpus: int, texts: int, expected: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(processes, "MIN_TOKENS_PER_PROCESS", {"cpu": 1, "cuda": 500})
    encoder: Any = SimpleNamespace(
        address="a model",
        device=torch.device("cuda", 0),
        settings=EncoderSettings.checked({"encoding_processes": asked}),
        max_lengths={"passage": 256},
    )
    assert processes.process_count(encoder, "passage", ["four" * 8] * texts, np.arange(texts)) == expected


@pytest.mark.parametrize("fails", [False, True])
def test_the_first_process_has_the_gpu_while_the_job_runs(
    tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """The weights of the process that waits leave the GPU, their memory is given back, and they return in any case."""
    counted = Counted(tiny_model)
    shards = open_cache(LazyEncoder.of(counted.encoder), "passage")
    assert shards is not None
    happened: list[str] = []

    def run(module: str, options: list[str], processes: int) -> None:
        happened.append(f"{processes} processes")
        if fails:
            raise StepFailed("the job failed")

    monkeypatch.setattr(processes, "run_on_processes", run)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: happened.append("emptied"))
    monkeypatch.setattr(type(counted.encoder), "device", torch.device("cuda", 0))
    monkeypatch.setattr(counted.encoder, "to", lambda device: happened.append(f"to {device}"))
    with pytest.raises(StepFailed) if fails else nullcontext():
        processes.encode_on_processes(counted.encoder, shards, TEXTS, "passage", None, np.arange(5), 2, "auto")
    assert happened == ["to cpu", "emptied", "2 processes", "to cuda:0"]
    assert not list(shards.folder.glob(".*"))
