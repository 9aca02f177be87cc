"""The cross-encoder's scores against one pair at a time and against sentence-transformers; models that are none."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from sharpen.errors import InputError, StepFailed
from sharpen.mining.settings import MiningSettings
from sharpen.reranking.cross_encoder import CrossEncoder
from sharpen.settings import EncoderSettings
from tests.sharpen.conftest import make_cross_encoder
from tests.sharpen.mining.corpora import mined, random_world

pytestmark = pytest.mark.model

WORDS = "river tree moon milk winter train doctor yellow number sugar".split()
ENCODER = EncoderSettings.checked({"precision": "fp32", "batch_tokens": 200})


def load(folder: Path | str, max_len: int, encoder: EncoderSettings = ENCODER) -> CrossEncoder:
    return CrossEncoder.load(str(folder), max_len, encoder, "mining.rescoring_model")


def pairs(count: int, longest: int) -> tuple[list[str], list[str]]:
    draw = random.Random(4)

    def text(most: int) -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))

    return [text(8) for _ in range(count)], [text(longest) for _ in range(count)]


def one_by_one(folder: Path, queries: list[str], passages: list[str], max_len: int) -> np.ndarray:
    """Logits (n, outputs) without padding and without batches."""
    tokenizer, model = (kind.from_pretrained(folder) for kind in (AutoTokenizer, AutoModelForSequenceClassification))
    found = []
    with torch.no_grad():
        for query, passage in zip(queries, passages, strict=True):
            encoded = tokenizer(query, passage, truncation=True, max_length=max_len, return_tensors="pt")
            found.append(model.eval()(**encoded).logits[0].numpy())
    return np.array(found)


def test_one_output_equals_one_pair_at_a_time(cross_encoder: Path) -> None:
    queries, passages = pairs(60, 40)
    model = load(cross_encoder, 24)
    expected = one_by_one(cross_encoder, queries, passages, 24)[:, 0]
    np.testing.assert_allclose(model.scores(queries, passages), expected, atol=1e-5)
    assert expected.std() > 0.3


def test_two_outputs_give_log_odds(tmp_path: Path, tiny_model: Path) -> None:
    folder = make_cross_encoder(tmp_path / "two", tiny_model, 2)
    queries, passages = pairs(30, 20)
    logits = one_by_one(folder, queries, passages, 128)
    relevant = torch.softmax(torch.from_numpy(logits), dim=1)[:, 1].double()
    expected = torch.log(relevant / (1 - relevant)).numpy()
    np.testing.assert_allclose(load(folder, 512).scores(queries, passages), expected, atol=1e-4)


def test_equals_sentence_transformers(cross_encoder: Path) -> None:
    from sentence_transformers import CrossEncoder as Theirs

    queries, passages = pairs(50, 150)
    theirs = Theirs(str(cross_encoder), device="cpu", max_length=128)
    expected = theirs.predict(
        list(zip(queries, passages, strict=True)), activation_fn=torch.nn.Identity(), show_progress_bar=False
    )
    model = load(cross_encoder, 512)
    np.testing.assert_allclose(model.scores(queries, passages), expected, atol=1e-5)


def test_the_identity_follows_files_and_lengths(cross_encoder: Path, tmp_path: Path, tiny_model: Path) -> None:
    def identity(folder: Path, max_len: int = 64) -> str:
        return load(folder, max_len).identity

    other = make_cross_encoder(tmp_path / "two", tiny_model, 2)
    assert identity(cross_encoder) == identity(cross_encoder)
    assert len({identity(cross_encoder), identity(cross_encoder, 32), identity(other)}) == 3


def test_what_is_no_cross_encoder_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    for address, told in (
        (str(tiny_model), "has no weights for .*classifier.*not a trained cross-encoder"),
        (str(make_cross_encoder(tmp_path / "three", tiny_model, 3)), "has 3 outputs"),
        (str(tmp_path / "nothing"), "no such folder"),
    ):
        with pytest.raises(InputError, match=told) as caught:
            load(address, 64)
        assert len(caught.value.faults) == 1


def sizes(model: CrossEncoder, monkeypatch: pytest.MonkeyPatch, most: int, error: Callable[[], Exception]) -> list[int]:
    """Tokens of each forward call that is tried; those with more than `most` fail."""
    tried: list[int] = []
    whole = model.model.forward

    def forward(input_ids: torch.Tensor, **others: Any) -> Any:
        tried.append(input_ids.numel())
        if input_ids.numel() > most:
            raise error()
        return whole(input_ids=input_ids, **others)

    monkeypatch.setattr(model.model, "forward", forward)
    return tried


@pytest.mark.parametrize(
    "error",
    [
        lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 68719476736 bytes."),
        lambda: MemoryError(),
    ],
)
def test_when_memory_runs_out_batches_shrink_and_the_scores_stay(
    cross_encoder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Any
) -> None:
    queries, passages = pairs(60, 40)
    model = load(cross_encoder, 64)
    expected = model.scores(queries, passages)
    tried = sizes(model, monkeypatch, 90, error)
    np.testing.assert_allclose(model.scores(queries, passages), expected, atol=1e-5)
    failed = [size for size in tried if size > 90]
    assert failed and tried[: len(failed)] == failed  # never tried again at a size that had failed
    assert "note: memory ran out; scoring pairs goes on with" in capsys.readouterr().out
    tried.clear()
    model.scores(queries, passages)
    assert max(tried) <= 90  # it stays small


def test_a_single_pair_that_does_not_fit_is_one_clear_line(
    cross_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(cross_encoder, 64)
    sizes(model, monkeypatch, 5, lambda: torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(
        StepFailed, match=r"memory to score a single pair of \d+ tokens; lower mining.rescoring_max_len"
    ):
        model.scores(*pairs(20, 40))


def test_another_error_of_torch_is_not_taken_for_lack_of_memory(
    cross_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(cross_encoder, 64)
    tried = sizes(model, monkeypatch, 0, lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        model.scores(*pairs(20, 40))
    assert len(tried) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_numbers_are_one_clear_line(cross_encoder: Path, value: float) -> None:
    model = load(cross_encoder, 64)
    with torch.no_grad():
        model.model.classifier.bias.fill_(value)
    said = "mining.rescoring_model: a score is not a number: its weights are damaged"
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        model.scores(*pairs(20, 40))
    assert len(caught.value.faults) == 1


def test_pairs_of_many_queries_share_the_forward_calls(cross_encoder: Path, tmp_path: Path) -> None:
    """Mining asks for a block of queries at once, not for one after the other."""
    encoder = EncoderSettings.checked({"precision": "fp32", "batch_tokens": 16384})
    model = load(cross_encoder, 64, encoder)
    calls = []
    model.model.register_forward_hook(lambda *_: calls.append(1))
    made = random_world(5, queries=200, passages=80)
    rules = MiningSettings.checked({"range_for_sampling": "2-30", "negative_number": 5})
    _, figures = mined(made, rules, tmp_path, judge=model)
    queries = len(figures.pool.query_ids)
    assert queries > 100 and 0 < len(calls) < queries / 3


def test_scores_do_not_depend_on_the_number_of_threads(cross_encoder: Path) -> None:
    encoder = EncoderSettings.checked({"precision": "fp32", "batch_tokens": 64})
    model = load(cross_encoder, 64, encoder)
    texts = [("cat dog " * (1 + n % 9)).strip() for n in range(60)]
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(model.scores(texts, texts[::-1]))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*found)
