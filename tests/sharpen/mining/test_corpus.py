"""Who may never be whose negative, and input with which there is nothing to mine."""

from __future__ import annotations

import numpy as np
import pytest

from sharpen.errors import InputError
from sharpen.mining.corpus import build_corpus
from sharpen.mining.pairs import PairSet
from tests.sharpen.mining.corpora import world

V = [1.0]


def test_positives_are_known_by_text_and_through_equal_queries_of_any_split() -> None:
    made = world(
        [("q1", "What is it?", V), ("q2", "what  IS it?", V), ("q3", "other", V)],
        [("a", "One", V), ("b", "one", V), ("c", "two", V), ("d", "three", V)],
        [("q1", "a"), ("q2", "c"), ("q3", "d")],
        splits={"q2": "test"},
    )
    pool = build_corpus(made.data, "data")
    assert pool.query_ids == ["q1", "q3"]
    assert list(zip(pool.positives.queries.tolist(), pool.positives.numbers.tolist(), strict=True)) == [(0, 0), (1, 3)]
    known = pool.known_texts.within(0, 1).numbers
    assert set(known) == {pool.text_of[0], pool.text_of[2]}
    assert pool.text_of[0] == pool.text_of[1] and pool.text_count == 3


def test_queries_without_a_positive_are_counted_and_left_out() -> None:
    made = world([("q1", "x", V), ("q2", "y", V)], [("a", "one", V), ("b", "two", V)], [("q1", "a")])
    pool = build_corpus(made.data, "data")
    assert pool.query_ids == ["q1"] and pool.counts["queries_without_positive"] == 1


def test_the_own_text_of_a_query() -> None:
    made = world([("q1", "One ", V), ("q2", "y", V)], [("a", "one", V), ("b", "two", V)], [("q1", "b"), ("q2", "b")])
    pool = build_corpus(made.data, "data")
    assert pool.query_text_number.tolist() == [pool.text_of[0], -1]


@pytest.mark.parametrize(
    ("queries", "passages", "positives", "message"),
    [
        ([("q", "x", V)], [], [], "corpus holds no passage"),
        ([], [("a", "one", V)], [], "no query is in the split train"),
        ([("q", "x", V)], [("a", "one", V)], [], "no query of the split train has a relevant passage"),
        ([("q", "x", V)], [("a", "one", V)], [("q", "zz")], "qrels: 1 passage_id values .* such as zz"),
        ([("q", "x", V)], [("a", "one", V)], [("nobody", "a")], "qrels: 1 query_id values .* such as nobody"),
        ([("q", "x", V)], [("a", "one", V), ("b", "ONE", V)], [("q", "a")], "nothing can be a negative"),
    ],
)
def test_nothing_to_mine_is_one_clear_line(queries: list, passages: list, positives: list, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build_corpus(world(queries, passages, positives).data, "data")
    assert len(caught.value.faults) == 1 and caught.value.faults[0].startswith("data: ")


def test_pairs() -> None:
    pairs = PairSet.of([2, 0, 2, 2, 1], [3, 1, 0, 3, -1], 4)
    assert list(zip(pairs.queries.tolist(), pairs.numbers.tolist(), strict=True)) == [(0, 1), (2, 0), (2, 3)]
    queries, numbers = np.array([[0], [2]]), np.array([[1, -1, 3], [1, -1, 3]])
    assert pairs.has(queries, numbers).tolist() == [[True, False, False], [False, False, True]]
    assert pairs.counts(3).tolist() == [1, 0, 2]
    assert pairs.within(1, 3).numbers.tolist() == [0, 3]
    assert pairs.without(PairSet.of([2], [0], 4)).keys.tolist() == [1, 11]
    assert not PairSet.of([], [], 4).has(queries, numbers).any()
