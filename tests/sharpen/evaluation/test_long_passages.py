"""Passages longer than the model reads, measured as they are served: in windows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sharpen.embeddings import LazyEncoder
from sharpen.embeddings.encoding import encode
from sharpen.evaluation.evaluate import evaluate
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


@pytest.mark.parametrize("windows", ["mean", "max"])
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


def test_the_evaluation_says_how_long_passages_are_read_and_counts_their_vectors(
    tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "data" / "qrels").mkdir(parents=True)
    rows = [json.dumps({"_id": f"p{row:02}", "text": text}) for row, text in enumerate(TEXTS)]
    (tmp_path / "data" / "corpus.jsonl").write_text("\n".join(rows))
    rows = [json.dumps({"_id": query, "text": text}) for query, text in QUERIES.items()]
    (tmp_path / "data" / "queries.jsonl").write_text("\n".join(rows))
    lines = [f"{query}\tp{int(query[1:]):02}\t1" for query in QUERIES]
    (tmp_path / "data" / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    settings = EvaluationSettings.checked({"variants": ["int8"], "resamples": 100})
    encoder = loaded(tiny_model, "max")
    evaluate(str(tiny_model), str(tmp_path / "data"), "test", str(tmp_path / "out"), settings, encoder.settings)
    by_hand = [window_vectors(encoder, "", text) for text in TEXTS]
    vectors = [len(one) for one in by_hand]
    facts = json.loads((tmp_path / "out" / "facts.json").read_text())["encoding"]
    assert facts["windows"] == "max of windows of 32 tokens that share 8"
    assert facts["vectors_a_passage"] == round(sum(vectors) / len(vectors), 4) > 2
    shown = f"{facts['windows']}; {facts['vectors_a_passage']:.2f} vectors a passage"
    assert shown in (tmp_path / "out" / "report.html").read_text()
    full, small = json.loads((tmp_path / "out" / "variants.json").read_text())["variants"]
    assert full["bytes_per_passage"] == round(4 * 32 * sum(vectors) / len(vectors)) and full["share_of_full"] == 1
    assert full["index_bytes"] > 4 * 32 * sum(vectors) > small["index_bytes"] > 32 * sum(vectors)
    found = json.loads((tmp_path / "out" / "separation.json").read_text())
    queries = encode(encoder, list(QUERIES.values()), "query")
    best = np.array([[(one @ query).max() for one in by_hand] for query in queries])
    relevant = best[range(len(best)), [int(query[1:]) for query in QUERIES]]
    others = np.where(best == relevant[:, None], -1, best).max(axis=1)
    assert found["queries"] == len(QUERIES) and found["above"] == pytest.approx((relevant > others).mean(), abs=1e-4)
    edges = found["positive"]["edges"]
    assert [edges[0], edges[-1]] == pytest.approx([min(*relevant, *others), max(*relevant, *others)], abs=1e-4)
