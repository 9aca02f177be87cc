"""Passages longer than the model reads, measured as they are served: in windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sharpen.embeddings import LazyEncoder
from sharpen.embeddings.encoding import encode
from sharpen.evaluation.retrieval import search
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from tests.sharpen.embeddings.by_hand import window_vectors, words
from tests.sharpen.evaluation.splits import a_split

pytestmark = pytest.mark.model

# most fit into a window of 32 tokens, one has sixty; two are equal, so they tie
LENGTHS = [*range(3, 30), 45, 70, 120, 1300, 120]
TEXTS = [words(length, min(seed, 29) if length == 120 else seed) for seed, length in enumerate(LENGTHS)]
QUERIES = {f"q{row}": " ".join(TEXTS[row].split()[-12:]) for row in (4, 20, 27, 28, 29, 30)}


def loaded(model: Path, windows: str) -> Encoder:
    values = {"precision": "fp32", "passage_max_len": 32, "passage_windows": windows, "window_overlap": 8}
    return Encoder.load(str(model), EncoderSettings.checked(values), device="cpu")


@pytest.mark.parametrize("windows", ["mean"])
def test_the_ranking_is_that_of_windows_by_hand(windows: str, tiny_model: Path) -> None:
    encoder, ids = loaded(tiny_model, windows), [f"p{row:02}" for row in range(len(TEXTS))]
    split = a_split(QUERIES, dict(zip(ids, TEXTS, strict=True)), {query: {"p00": 1} for query in QUERIES})
    rankings, *_ = search(LazyEncoder.of(encoder), split, EvaluationSettings.checked({}), None)
    queries = encode(encoder, list(QUERIES.values()), "query")
    vectors = [window_vectors(encoder, "", text) for text in TEXTS]
    means = [one.mean(axis=0) / np.linalg.norm(one.mean(axis=0)) for one in vectors]
    for query_id, query in zip(QUERIES, queries, strict=True):
        scores = np.array(
            [
                (one @ query).max() if windows == "max" else mean @ query
                for one, mean in zip(vectors, means, strict=True)
            ]
        )
        found = dict(rankings[query_id])
        np.testing.assert_allclose([found[passage_id] for passage_id in ids], scores, atol=1e-6)
        assert [passage_id for passage_id, _ in rankings[query_id]] == sorted(
            ids, key=lambda p: (found[p], p), reverse=True
        )
        assert found["p29"] == found["p31"]
