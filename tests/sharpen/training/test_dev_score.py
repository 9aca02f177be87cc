"""nDCG@10 while training is what pytrec_eval gives."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import pytrec_eval

from sharpen.distributed import ProcessGroup
from sharpen.embeddings.encoding import encode
from sharpen.index.sizes import parse_variants
from sharpen.models.encoder import Encoder
from sharpen.training.contrastive import ContrastiveObjective
from sharpen.training.data.tokens import Tokens
from sharpen.training.dev_score import DevSet
from sharpen.training.gradient.micro_batch import MicroBatchConfig
from sharpen.training.settings import TrainingSettings
from tests.sharpen.training.small_data import ENCODER, parts, small_data


@pytest.mark.model
def test_score_equals_a_full_search(tiny_model: Path) -> None:
    data = small_data()
    encoder = Encoder.load(str(tiny_model), ENCODER, device="cpu")
    dev = DevSet.cut(data, 1000, 0)
    assert dev.note == ""
    queries = data.queries_of("dev")
    scores = encode(encoder, queries["text"].to_list(), "query") @ encode(encoder, data.passage_texts(), "passage").T
    run = {
        query: dict(zip(data.corpus["passage_id"].to_list(), map(float, row), strict=True))
        for query, row in zip(queries["query_id"], scores, strict=True)
    }
    # the last query stands in the corpus, in other letters, and nobody judged it
    question = queries["text"].to_list()[-1]
    own = data.corpus.filter(pl.col("text").str.to_lowercase() == question)["passage_id"].item()
    assert own not in data.qrels_of("dev")[queries["query_id"][-1]]
    assert max(run[queries["query_id"][-1]], key=run[queries["query_id"][-1]].__getitem__) == own
    del run[queries["query_id"][-1]][own]
    per_query = pytrec_eval.RelevanceEvaluator(data.qrels_of("dev"), {"ndcg_cut.10"}).evaluate(run)
    expected = np.mean([found["ndcg_cut_10"] for found in per_query.values()])
    assert dev.ndcg(encoder, MicroBatchConfig(), ProcessGroup()).mean() == pytest.approx(expected, abs=1e-6)


def discounted(gains: list[int]) -> float:
    return float(np.sum(gains / np.log2(np.arange(2, len(gains) + 2))))


@pytest.mark.model
@pytest.mark.parametrize(("name", "bits"), [("dim:16", 32), ("dim:16+int8", 8), ("binary", 1), ("dim:8+binary", 1)])
def test_score_in_the_size_that_is_served(tiny_model: Path, name: str, bits: int) -> None:
    """Cut, of length 1 again, stored and read back by hand."""
    data = small_data()
    encoder = Encoder.load(str(tiny_model), ENCODER, device="cpu")
    dev = DevSet.cut(data, 1000, 0)
    queries, passages = encode(encoder, dev.queries, "query"), encode(encoder, dev.passages, "passage")
    dimension = int(name.removeprefix("dim:").partition("+")[0]) if name.startswith("dim:") else queries.shape[1]
    queries, passages = (
        part[:, :dimension] / np.linalg.norm(part[:, :dimension], axis=1, keepdims=True) for part in (queries, passages)
    )
    if bits == 8:
        largest = np.abs(passages).max()
        passages = np.round(passages * (127 / largest)) * (largest / 127)
    elif bits == 1:
        passages = np.where(passages > 0, 1.0, -1.0)
    expected = []
    for query, vector in zip(dev.query_ids, queries.astype(np.float32), strict=True):
        scores = passages.astype(np.float32) @ vector
        left = [
            row for row in np.argsort(-scores, kind="stable") if dev.passage_ids[row] not in dev.left_out.get(query, ())
        ]
        gains = [dev.qrels[query].get(dev.passage_ids[row], 0) for row in left[:10]]
        ideal = sorted(dev.qrels[query].values(), reverse=True)[:10]
        expected.append(discounted(gains) / discounted(ideal))
    (size,) = parse_variants([name])
    found = dev.ndcg(encoder, MicroBatchConfig(), ProcessGroup(), size).mean()
    assert found == pytest.approx(np.mean(expected), abs=1e-6)


@pytest.mark.model
def test_the_objective_measures_the_size_of_the_settings(tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model), ENCODER, device="cpu")
    dev, alone = DevSet.cut(small_data(), 1000, 0), ProcessGroup()
    scores = {}
    for name in ("", "dim:8+binary"):
        settings = TrainingSettings.checked({"train_batch_size": 4, "served_size": name})
        examples, _ = parts(settings)
        dataset = SimpleNamespace(loss=None, tokens=Tokens(examples, encoder))
        objective = ContrastiveObjective(encoder, dataset, settings)  # type: ignore[arg-type]
        scores[name] = objective.dev_ndcg_of(dev, alone)().tolist()
    (size,) = parse_variants(["dim:8+binary"])
    assert scores[""] == dev.ndcg(encoder, MicroBatchConfig(), alone).tolist()
    assert scores["dim:8+binary"] == dev.ndcg(encoder, MicroBatchConfig(), alone, size).tolist() != scores[""]


def test_a_large_corpus_is_cut_and_said_so() -> None:
    data = small_data()
    dev = DevSet.cut(data, 20, 0)
    relevant = {p for found in data.qrels_of("dev").values() for p in found}
    assert relevant <= set(dev.passage_ids)
    assert len(dev.passage_ids) == 20
    assert "searches 20 of 60 passages" in dev.note
    assert DevSet.cut(data, 20, 0).passage_ids == dev.passage_ids
