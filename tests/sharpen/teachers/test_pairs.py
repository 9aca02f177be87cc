"""Which pairs are scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from sharpen.data.dataset import GIVEN_NEGATIVES
from sharpen.errors import InputError
from sharpen.teachers.pairs import given_negatives, pairs_to_score
from tests.sharpen.teachers.small import MINED, TEXTS, small_data

NEGATIVES = pl.DataFrame(MINED, schema=["query_id", "passage_id"], orient="row")


def _named(level: int = 1) -> set[tuple[str, str, str]]:
    pairs = pairs_to_score(small_data(), NEGATIVES, level)
    return {
        (pairs.query_ids[query], pairs.passage_ids[passage], role)
        for query, passage, role in zip(pairs.query, pairs.passage, pairs.role, strict=True)
    }


def test_positives_negatives_and_what_is_judged_irrelevant() -> None:
    mined = {(*pair, "negative") for pair in MINED}
    assert _named() == mined | {("q0", "p0", "positive"), ("q1", "p2", "positive"), ("q0", "p4", "irrelevant")}
    # at a higher level q0 has no positive, and nothing of it is scored
    assert _named(2) == {("q1", "p2", "positive"), ("q1", "p1", "negative"), ("q1", "p3", "negative")}


def test_texts_are_those_that_are_encoded_and_queries_follow_each_other() -> None:
    pairs = pairs_to_score(small_data(), NEGATIVES, 1)
    assert dict(zip(pairs.passage_ids, pairs.passages, strict=True)) == {
        name: " ".join(filter(None, TEXTS[name])) for name in ("p0", "p1", "p2", "p3", "p4")
    }
    assert pairs.queries == ["where do fish live", "what is bread made of"]
    assert (np.diff(pairs.query) >= 0).all() and len(pairs) == 7


def test_negatives_of_the_data_but_for_lists_of_reranking() -> None:
    data = small_data()
    assert given_negatives(data).select("query_id", "passage_id", "picked_by").rows() == [
        ("q0", "p3", "given"),
        ("q1", "p5", "given"),
        ("q2", "p5", "given"),
    ]
    kinds = pl.when(pl.col("query_id") == "q1").then(pl.lit("reranking")).otherwise("task_type")
    lists = replace(data, queries=data.queries.with_columns(task_type=kinds))
    assert given_negatives(lists)["query_id"].to_list() == ["q0", "q2"]
    pairs = pairs_to_score(lists, given_negatives(lists), 1)
    roles = dict(zip(zip(pairs.query, pairs.passage_ids, strict=False), pairs.role, strict=False))
    assert "irrelevant" in roles.values()
    of_q1 = [
        (pairs.passage_ids[passage], role)
        for query, passage, role in zip(pairs.query, pairs.passage, pairs.role, strict=True)
        if pairs.query_ids[query] == "q1"
    ]
    assert sorted(of_q1) == [("p2", "positive"), ("p5", "irrelevant")]


def test_lowest_positive_of_each_query() -> None:
    pairs = pairs_to_score(small_data(), NEGATIVES, 1)
    scores = np.where(pairs.role == "positive", 2.0 + pairs.query, 9.0)
    assert pairs.lowest_positive(scores).tolist() == [2.0, 3.0]
    scores[pairs.query == 0] = np.nan
    assert pairs.lowest_positive(scores).tolist() == [np.inf, 3.0]


def test_nothing_to_score_and_negatives_of_other_data_are_refused() -> None:
    with pytest.raises(InputError, match="no query of the split train has a relevant passage"):
        pairs_to_score(small_data(), NEGATIVES, 3)
    unknown = pl.DataFrame([("q9", "p1")], schema=GIVEN_NEGATIVES, orient="row")
    with pytest.raises(InputError, match="q9"):
        pairs_to_score(small_data(), unknown, 1)
