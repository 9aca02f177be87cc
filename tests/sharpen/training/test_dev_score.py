"""nDCG@10 while training is what pytrec_eval gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import pytrec_eval

from sharpen.distributed import ProcessGroup
from sharpen.embeddings.encoding import encode
from sharpen.models.encoder import Encoder
from sharpen.training.dev_score import DevSet
from sharpen.training.gradient.micro_batch import MicroBatchConfig
from tests.sharpen.training.small_data import ENCODER, small_data


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
    assert dev.score(encoder, MicroBatchConfig(), ProcessGroup()) == pytest.approx(expected, abs=1e-6)


def test_a_large_corpus_is_cut_and_said_so() -> None:
    data = small_data()
    dev = DevSet.cut(data, 20, 0)
    relevant = {p for found in data.qrels_of("dev").values() for p in found}
    assert relevant <= set(dev.passage_ids)
    assert len(dev.passage_ids) == 20
    assert "searches 20 of 60 passages" in dev.note
    assert DevSet.cut(data, 20, 0).passage_ids == dev.passage_ids
