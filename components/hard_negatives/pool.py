"""What is mined: the training queries, the passages in the order of their ids, and who may never be whose negative.

A *text* is a distinct normalised passage text with a number of its own, so a copy of a positive under another id is
known as a positive too. A query's known positives are the relevant passages of all splits, and those of every other
query with the same normalised text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from components.core.errors import InputError
from components.core.records import DataSet
from components.core.text import normalised
from components.hard_negatives.pairs import Pairs

SPLIT = "train"
_SHOWN = 3


@dataclass(frozen=True)
class Pool:
    """Queries and passages by row.

    Attributes:
        query_ids, queries, instructions: the queries to mine for, sorted by id; an empty instruction means none.
        passage_ids, passages: the corpus, sorted by id; title and text joined.
        text_of: (passages) the number of each passage's text.
        text_count: how many distinct texts there are.
        own_text: (queries) the number of the query's own text where it is a passage, else -1.
        positives: (query, passage) pairs judged relevant to the query; every query has one.
        known_passages: (query, passage) pairs that are known positives.
        known_texts: (query, text) pairs that are known positives.
        given: (query, passage) pairs that the user brought as negatives and that may be some.
        given_texts: (query, text) pairs of the same.
        counts: what was left out on the way here.
    """

    query_ids: list[str]
    queries: list[str]
    instructions: list[str]
    passage_ids: list[str]
    passages: list[str]
    text_of: np.ndarray
    text_count: int
    own_text: np.ndarray
    positives: Pairs
    known_passages: Pairs
    known_texts: Pairs
    given: Pairs
    given_texts: Pairs
    counts: dict[str, int]


def make_pool(data: DataSet, address: str) -> Pool:
    """Number queries, passages and texts of the training split.

    Args:
        data: the data set.
        address: where it came from, for messages.

    Raises:
        InputError: no passage, no training query, none with a positive, ids that the data set lacks, or a corpus in
            which every passage is a positive of every query.
    """
    if data.corpus.is_empty():
        raise InputError(f"{address}: the corpus holds no passage; there is nothing to mine")
    queries = data.queries_of(SPLIT)
    if queries.is_empty():
        raise InputError(f"{address}: no query is in the split {SPLIT}; there is nothing to mine for")
    _check_ids(data, address)
    corpus = data.corpus.sort("passage_id")
    passages = DataSet(corpus, data.queries, data.qrels).passage_texts()
    numbers: dict[str, int] = {}
    text_of = np.array([numbers.setdefault(normalised(text), len(numbers)) for text in passages], dtype=np.int64)

    relevant = data.qrels.filter(pl.col("grade") > 0)
    judged = queries.join(relevant, on="query_id", how="semi").sort("query_id")
    if judged.is_empty():
        raise InputError(f"{address}: no query of the split {SPLIT} has a relevant passage (qrels with grade > 0)")
    passage_row = _rows(corpus, "passage_id")
    positives = _pairs(judged, relevant, passage_row, len(passages))
    known = _known(judged, data.queries, relevant, passage_row, len(passages))
    known_texts = Pairs.of(known.queries, text_of[known.numbers], len(numbers))
    query_texts = judged["text"].to_list()
    own_text = np.array([numbers.get(normalised(text), -1) for text in query_texts], dtype=np.int64)
    never = known_texts.union(Pairs.of(np.arange(len(own_text)), own_text, len(numbers)))
    if never.counts(judged.height).min() >= len(numbers):
        raise InputError(
            f"{address}: each of the {len(numbers)} passages is a positive of every query, so nothing can be a "
            "negative; add passages to the corpus"
        )
    brought = _pairs(judged, data.given_negatives, passage_row, len(passages))
    given = _first_of_each_text(brought, text_of, len(numbers), never)
    return Pool(
        query_ids=judged["query_id"].to_list(),
        queries=query_texts,
        instructions=judged["instruction"].fill_null("").to_list(),
        passage_ids=corpus["passage_id"].to_list(),
        passages=passages,
        text_of=text_of,
        text_count=len(numbers),
        own_text=own_text,
        positives=positives,
        known_passages=known,
        known_texts=known_texts,
        given=given,
        given_texts=Pairs.of(given.queries, text_of[given.numbers], len(numbers)),
        counts={
            "queries_without_positive": queries.height - judged.height,
            "given_known_positive_or_repeated": len(brought) - len(given),
        },
    )


def _rows(table: pl.DataFrame, column: str) -> pl.DataFrame:
    return table.select(column).with_row_index(column.removesuffix("_id"))


def _pairs(queries: pl.DataFrame, judgements: pl.DataFrame, passage_row: pl.DataFrame, passages: int) -> Pairs:
    """(row in `queries`, row of the passage) of the rows of `judgements` whose query is in `queries`."""
    joined = judgements.select("query_id", "passage_id").join(_rows(queries, "query_id"), on="query_id")
    joined = joined.join(passage_row, on="passage_id")
    return Pairs.of(joined["query"].to_numpy(), joined["passage"].to_numpy(), passages)


def _known(
    judged: pl.DataFrame, queries: pl.DataFrame, relevant: pl.DataFrame, passage_row: pl.DataFrame, passages: int
) -> Pairs:
    """Relevant passages of every query, in any split, that has the same normalised text."""

    def with_key(table: pl.DataFrame) -> pl.DataFrame:
        keys = pl.Series("key", [normalised(text) for text in table["text"].to_list()], dtype=pl.String)
        return table.select("query_id").with_columns(keys)

    same = with_key(judged).with_row_index("query").select("query", "key").join(with_key(queries), on="key")
    joined = same.join(relevant.select("query_id", "passage_id"), on="query_id").join(passage_row, on="passage_id")
    return Pairs.of(joined["query"].to_numpy(), joined["passage"].to_numpy(), passages)


def _first_of_each_text(pairs: Pairs, text_of: np.ndarray, texts: int, never: Pairs) -> Pairs:
    """The pairs whose text may be a negative, one for each text."""
    queries, passages = pairs.queries, pairs.numbers
    fit = ~never.has(queries, text_of[passages])
    queries, passages = queries[fit], passages[fit]
    _, first = np.unique(queries * texts + text_of[passages], return_index=True)
    return Pairs.of(queries[first], passages[first], pairs.width)


def _check_ids(data: DataSet, address: str) -> None:
    faults = []
    for name, table in (("qrels", data.qrels), ("given negatives", data.given_negatives)):
        for column, known in (("query_id", data.queries), ("passage_id", data.corpus)):
            unknown = table.select(column).unique().join(known, on=column, how="anti").sort(column)[column]
            if len(unknown):
                shown = ", ".join(unknown.head(_SHOWN).to_list())
                faults.append(
                    f"{address}: {name}: {len(unknown):,} {column} values are not in the data set, such as {shown}; "
                    "add them or take the rows out"
                )
    if faults:
        raise InputError(faults)
