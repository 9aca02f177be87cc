"""The cross-encoder's scores against one pair at a time and against sentence-transformers; models that are none."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from components.core.errors import InputError
from components.core.settings import EncoderSettings
from components.hard_negatives.cross_encoder import CrossEncoder
from tests.components.hard_negatives.conftest import make_cross_encoder

pytestmark = pytest.mark.model

WORDS = "river tree moon milk winter train doctor yellow number sugar".split()
ENCODER = EncoderSettings.checked({"precision": "fp32", "batch_tokens": 200})


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
    model = CrossEncoder.load(str(cross_encoder), 24, ENCODER)
    expected = one_by_one(cross_encoder, queries, passages, 24)[:, 0]
    np.testing.assert_allclose(model.scores(queries, passages), expected, atol=1e-5)
    assert expected.std() > 0.3


def test_two_outputs_give_log_odds(tmp_path: Path, tiny_model: Path) -> None:
    folder = make_cross_encoder(tmp_path / "two", tiny_model, 2)
    queries, passages = pairs(30, 20)
    logits = one_by_one(folder, queries, passages, 128)
    relevant = torch.softmax(torch.from_numpy(logits), dim=1)[:, 1].double()
    expected = torch.log(relevant / (1 - relevant)).numpy()
    np.testing.assert_allclose(
        CrossEncoder.load(str(folder), 512, ENCODER).scores(queries, passages), expected, atol=1e-4
    )


def test_equals_sentence_transformers(cross_encoder: Path) -> None:
    from sentence_transformers import CrossEncoder as Theirs

    queries, passages = pairs(50, 150)
    theirs = Theirs(str(cross_encoder), device="cpu", max_length=128)
    expected = theirs.predict(
        list(zip(queries, passages, strict=True)), activation_fn=torch.nn.Identity(), show_progress_bar=False
    )
    model = CrossEncoder.load(str(cross_encoder), 512, ENCODER)
    np.testing.assert_allclose(model.scores(queries, passages), expected, atol=1e-5)


def test_the_identity_follows_files_and_lengths(cross_encoder: Path, tmp_path: Path, tiny_model: Path) -> None:
    def identity(folder: Path, max_len: int = 64) -> str:
        return CrossEncoder.load(str(folder), max_len, ENCODER).identity

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
            CrossEncoder.load(address, 64, ENCODER)
        assert len(caught.value.faults) == 1
