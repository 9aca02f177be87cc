"""Equal texts become one passage or query, and every table follows."""

from __future__ import annotations

import polars as pl

from sharpen.data.dataset import CORPUS, GIVEN_NEGATIVES, QRELS, QUERIES, TEACHER_SCORES, DataSet
from sharpen.data.preparation.merging import merge
from sharpen.data.text import key_id, text_key


def frame(schema, *rows) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def test_merge() -> None:
    hashed = key_id(text_key("Title Body"))
    data = DataSet(
        corpus=frame(
            CORPUS,
            ("d2", "title", "BODY"),
            ("d1", "", "title  body"),
            (hashed, "", "Title Body"),
            ("d3", "", "other"),
            ("d4", "", "negative"),
        ),
        queries=frame(
            QUERIES,
            ("q1", "Why?", "train", "b", "", "doc 2"),
            ("q2", "why? ", "train", "a", "", "doc 1"),
            ("q3", "why?", "test", "a", "", None),
            ("q4", "why?", "train", "a", "Find: ", None),
        ),
        qrels=frame(
            QRELS,
            ("q1", "d1", 1, "train"),
            ("q2", "d2", 3, "train"),
            ("q2", "d3", 1, "train"),
            ("q3", hashed, 1, "test"),
            ("q4", "d3", 0, "train"),
        ),
        given_negatives=frame(GIVEN_NEGATIVES, ("q1", "d3"), ("q1", "d4"), ("q2", "d4"), ("q4", "d3")),
        teacher_scores=frame(TEACHER_SCORES, ("q1", "d1", 0.5), ("q2", "d2", 0.75)),
    )
    draft = merge(data)
    assert draft.data.corpus.select(list(CORPUS)).rows() == [
        ("d1", "", "title  body"),
        ("d3", "", "other"),
        ("d4", "", "negative"),
    ]
    assert draft.data.queries.select(list(QUERIES)).rows() == [
        ("q1", "Why?", "train", "a", "", "doc 1"),
        ("q3", "why?", "test", "a", "", None),
        ("q4", "why?", "train", "a", "Find: ", None),
    ]
    assert draft.data.qrels.rows() == [
        ("q1", "d1", 3, "train"),
        ("q1", "d3", 1, "train"),
        ("q3", "d1", 1, "test"),
        ("q4", "d3", 0, "train"),
    ]
    assert draft.data.given_negatives.rows() == [("q1", "d4"), ("q4", "d3")]
    assert draft.data.teacher_scores.rows() == [("q1", "d1", 0.75)]
    assert draft.counts == {
        "passages_merged": 2,
        "queries_merged": 1,
        "pairs_merged": 1,
        "given_negatives_that_are_positives": 1,
    }
    assert draft.data.queries["text_key"].n_unique() == 1
    assert merge(draft.data).data.fingerprint() == draft.data.fingerprint()


def test_an_empty_data_set_stays_empty() -> None:
    data = DataSet(*(pl.DataFrame(schema=schema) for schema in (CORPUS, QUERIES, QRELS)))
    assert merge(data).data.counts() == data.counts()
