"""The round trip against brute force, and the cross-encoder's second opinion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sharpen.generation.filters.candidates import Candidate
from sharpen.generation.filters.round_trip import RoundTrip
from sharpen.generation.settings import GenerationSettings
from sharpen.settings import EncoderSettings

TEXTS = ["winter rain", "bread and sugar", "a public school", "the river", "a red number", "north wind", "milk, quick"]
QUERIES = [("rain in winter", 0), ("sugar", 1), ("old school", 2), ("rain", 3), ("number", 4), ("why wind", 5)]


def _candidates() -> list[Candidate]:
    pairs = Candidate("winter rain and north wind", "multi_passage", (0, 5), "m")
    return [*(Candidate(text, "question", (row,), "m") for text, row in QUERIES), pairs]


def _vectors(folder: Path, texts: list[str]) -> np.ndarray:
    """Mean pooling by hand, a text at a time."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        rows = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).numpy() for text in texts]
    return np.array([row / np.linalg.norm(row) for row in rows])


@pytest.mark.model
def test_ranks_are_those_of_brute_force(tiny_model: Path) -> None:
    encoder = EncoderSettings.checked({"vector_cache": "off"})
    view, candidates = RoundTrip(str(tiny_model), TEXTS, encoder), _candidates()
    settings = GenerationSettings.checked({"round_trip_top": 3})
    facts = view.check(candidates, settings)

    queries, passages = (_vectors(tiny_model, texts) for texts in ([one.text for one in candidates], TEXTS))
    ranked = np.argsort(-(queries @ passages.T), axis=1)[:, :3]
    expected = [set(one.rows) <= set(row.tolist()) for one, row in zip(candidates, ranked, strict=True)]
    assert [one.fault == "" for one in candidates] == expected
    assert True in expected and False in expected
    similar = queries @ queries.T - 2 * np.eye(len(queries))
    assert facts == {
        "queries": 7,
        "first": sum(set(row[: len(one.rows)]) == set(one.rows) for one, row in zip(candidates, ranked, strict=True)),
        "found": sum(expected),
        "top": 3,
        "mean_similarity_of_nearest_query": pytest.approx(similar.max(axis=1).mean(), abs=1e-4),
    }
    # the nearest passages of each, without itself
    near = view.neighbours([2, 0], 2)
    alike = passages @ passages.T - 2 * np.eye(len(TEXTS))
    assert near.tolist() == np.argsort(-alike, axis=1)[[2, 0], :2].tolist()


@pytest.mark.model
def test_cross_encoder_ranks_what_was_found(tiny_model: Path, cross_encoder: Path) -> None:
    from sharpen.reranking.cross_encoder import CrossEncoder

    encoder = EncoderSettings.checked({"vector_cache": "off"})
    values = {"round_trip_top": 7, "cross_encoder": str(cross_encoder), "cross_encoder_top": 2}
    candidates = _candidates()
    facts = RoundTrip(str(tiny_model), TEXTS, encoder).check(candidates, GenerationSettings.checked(values))
    cross = CrossEncoder.load(str(cross_encoder), 512, encoder, "x")
    expected = []
    for one in candidates:
        ranked = np.argsort(-cross.scores([one.text] * len(TEXTS), TEXTS), kind="stable").tolist()
        last = max(ranked.index(row) for row in one.rows)
        expected.append("" if last + 2 - len(one.rows) <= 2 else "not_confirmed")
    assert [one.fault for one in candidates] == expected
    assert set(expected) == {"", "not_confirmed"}
    assert facts["confirmed"] == expected.count("")
