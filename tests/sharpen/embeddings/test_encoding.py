"""The encoding loop: order, one computation a text, the token budget, and what happens when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sharpen.data.dedup import unique_texts
from sharpen.embeddings import encoding
from sharpen.embeddings.encoding import encode
from sharpen.errors import StepFailed
from sharpen.models import micro_batches
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings

pytestmark = pytest.mark.model

FP32 = EncoderSettings.checked({"precision": "fp32", "vector_cache": "off"})
LENGTHS = (5, 1, 90, 3, 40, 2, 40, 17, 120, 8)
TEXTS = [" ".join(["cat", "dog", "sea"][number % 3] for number in range(length)) for length in LENGTHS]


@pytest.fixture
def encoder(tiny_model: Path) -> Encoder:
    return Encoder.load(str(tiny_model), FP32, device="cpu")


@pytest.fixture
def forwards(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Shapes (texts, tokens) of the encoder's forward calls, in order."""
    seen: list[tuple[int, int]] = []
    whole = encoder.forward

    def forward(input_ids: torch.Tensor, *others: Any, **more: Any) -> torch.Tensor:
        seen.append(tuple(input_ids.shape))  # type: ignore[arg-type]
        return whole(input_ids, *others, **more)

    monkeypatch.setattr(encoder, "forward", forward)
    return seen


def one_by_one(encoder: Encoder, texts: list[str]) -> np.ndarray:
    with torch.inference_mode():
        return np.concatenate([encoder(**encoder.pad(encoder.tokenize([text], "passage"))).numpy() for text in texts])


def fails_above(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, tokens: int, error: Callable[[], Exception]
) -> list[int]:
    """Let the forward call fail for more than so many tokens; returns the sizes that were tried."""
    tried: list[int] = []
    whole = encoder.forward

    def forward(input_ids: torch.Tensor, *others: Any, **more: Any) -> torch.Tensor:
        tried.append(input_ids.numel())
        if input_ids.numel() > tokens:
            raise error()
        return whole(input_ids, *others, **more)

    monkeypatch.setattr(encoder, "forward", forward)
    return tried


def test_distinct_texts_in_order_of_their_first_occurrence() -> None:
    found = unique_texts(["b", "a", "b", "c", "a"])
    assert (found.first_index.tolist(), found.inverse.tolist()) == ([0, 1, 3], [0, 1, 0, 2, 1])
    assert len(set(found.keys.tolist())) == 3


def test_an_instruction_makes_another_text_and_an_empty_one_does_not() -> None:
    found = unique_texts(["a", "a", "a", "1a", "a"], [None, "find", "", None, "1"])
    assert found.inverse.tolist() == [0, 1, 0, 2, 3]
    assert found.keys[0] == unique_texts(["a"]).keys[0]
    with pytest.raises(ValueError):
        unique_texts(["a", "b"], ["find"])


def test_vectors_are_those_of_each_text_alone_in_the_asked_order(encoder: Encoder) -> None:
    expected = one_by_one(encoder, TEXTS)
    np.testing.assert_allclose(encode(encoder, TEXTS, "passage"), expected, atol=1e-6)
    turned = list(range(len(TEXTS)))[::-1]
    np.testing.assert_allclose(encode(encoder, [TEXTS[row] for row in turned], "passage"), expected[turned], atol=1e-6)


def test_a_text_that_occurs_twice_is_computed_once(encoder: Encoder, forwards: list[tuple[int, int]]) -> None:
    vectors = encode(encoder, [*TEXTS, *TEXTS, TEXTS[4]], "passage")
    assert sum(rows for rows, _ in forwards) == len(TEXTS) - 1  # TEXTS[4] and TEXTS[6] are equal
    np.testing.assert_array_equal(vectors[: len(TEXTS)], vectors[len(TEXTS) : -1])
    np.testing.assert_array_equal(vectors[4], vectors[-1])


def test_micro_batches_keep_within_the_budget_from_long_to_short(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, encoder: Encoder, forwards: list[tuple[int, int]]
) -> None:
    monkeypatch.setattr(micro_batches, "CPU_PIECE", 64)
    encode(encoder, TEXTS, "passage")
    assert all(rows * width <= 64 for rows, width in forwards if rows > 1)
    assert [width for _, width in forwards] == sorted((width for _, width in forwards), reverse=True)
    assert len(forwards) < len(TEXTS)


def test_chunks_do_not_change_the_vectors_and_only_two_are_in_memory(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{word} {number}" for number in range(1500) for word in ("cat", "dog")]
    expected = encode(encoder, texts, "query")
    monkeypatch.setattr(encoding, "CHUNK_TOKENS", 64)
    assert [len(chunk) for chunk in encoding.chunks_of(np.arange(3000), 64)] == [1024, 1024, 952]
    np.testing.assert_allclose(encode(encoder, texts, "query"), expected, atol=1e-6)
    ahead: list[int] = []
    for chunk, tokens in encoding.prefetch(lambda rows: ahead.append(len(rows)) or [rows], [np.arange(3)] * 5):
        assert len(chunk) == len(tokens[0]) == 3
        assert len(ahead) <= 5
    assert len(ahead) == 5


def test_a_rows_chunk_does_not_depend_on_the_other_rows() -> None:
    rows = np.array([0, 5, 1023, 1024, 4000, 4001])
    whole = {row: tuple(chunk) for chunk in encoding.chunks_of(np.arange(5000), 2**16) for row in chunk}
    for chunk in encoding.chunks_of(rows, 2**16):
        assert len({whole[row] for row in chunk}) == 1
    assert encoding.chunks_of(np.arange(0), 64) == []


def test_dropout_is_off_and_the_mode_is_restored(encoder: Encoder) -> None:
    encoder.train()
    first = encode(encoder, TEXTS, "passage")
    assert encoder.training
    np.testing.assert_array_equal(first, encode(encoder, TEXTS, "passage"))


@pytest.mark.parametrize(
    "error",
    [
        lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 68719476736 bytes."),
        lambda: MemoryError(),
    ],
)
def test_when_memory_runs_out_the_budget_shrinks_and_the_vectors_stay(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Any
) -> None:
    expected = one_by_one(encoder, TEXTS)
    monkeypatch.setattr(micro_batches, "CPU_PIECE", 512)
    tried = fails_above(encoder, monkeypatch, 130, error)
    np.testing.assert_allclose(encode(encoder, TEXTS, "passage"), expected, atol=1e-6)
    assert tried[0] > 130
    # halved, and never tried again at a size that had failed
    assert [size for size in tried if size > 130] == tried[: sum(size > 130 for size in tried)]
    assert "memory ran out; encoding goes on with" in capsys.readouterr().out


def test_a_single_text_that_does_not_fit_is_one_clear_line(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_above(encoder, monkeypatch, 60, lambda: torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(StepFailed, match=r"a single text of 122 tokens; lower encoder.passage_max_len") as caught:
        encode(encoder, TEXTS, "passage")
    assert "\n" not in str(caught.value)


def test_another_error_of_torch_is_not_taken_for_lack_of_memory(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = fails_above(encoder, monkeypatch, 0, lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        encode(encoder, TEXTS, "passage")
    assert len(tried) == 1


def test_progress_tells_tokens_and_their_rate(encoder: Encoder, capsys: pytest.CaptureFixture[str]) -> None:
    encode(encoder, TEXTS, "passage")
    tokens = sum(map(len, encoder.tokenize(list(dict.fromkeys(TEXTS)), "passage")))
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"Encoding passages: 100 % · {tokens:,}/{tokens:,} tokens · ")
    assert "tokens/s" in line
