"""Which pairs a teacher scores: each training query with its positives and its negatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from sharpen.data.dataset import NEGATIVES, DataSet
from sharpen.data.relevance import WITH_INSTRUCTION, Relevance, check_ids, part_of
from sharpen.data.task_type import TaskType
from sharpen.data.text import passage_texts
from sharpen.errors import InputError

POSITIVE, NEGATIVE, IRRELEVANT = "positive", "negative", "irrelevant"
"""Roles of a passage: relevant; in the table of negatives; one that the data call irrelevant besides."""

_WITH_SOURCE = {**NEGATIVES, "source": pl.String}


@dataclass(frozen=True)
class TeacherPairs:
    """Pairs of texts, by their rows, in the order of the queries.

    Attributes:
        query_ids, queries: one entry a query.
        passage_ids, passages: one entry a passage, title included.
        query, passage: (n,) rows of each pair; no pair stands twice.
        role: (n,) `POSITIVE`, `NEGATIVE` or `IRRELEVANT`.
    """

    query_ids: list[str]
    queries: list[str]
    passage_ids: list[str]
    passages: list[str]
    query: np.ndarray
    passage: np.ndarray
    role: np.ndarray

    def __len__(self) -> int:
        return len(self.query)

    def lowest_positive(self, scores: np.ndarray) -> np.ndarray:
        """(queries,) the score of each query's lowest positive; infinite where none is scored.

        Args:
            scores: (n,) of the pairs; NaN: not scored.
        """
        lowest = np.full(len(self.queries), np.inf)
        known = (self.role == POSITIVE) & ~np.isnan(scores)
        np.minimum.at(lowest, self.query[known], scores[known])
        return lowest


def given_negatives(data: DataSet) -> pl.DataFrame:
    """The negatives that came with the data as a table of mined ones has them; lists of reranking keep theirs."""
    lists = data.queries.filter(pl.col("task_type") == TaskType.RERANKING.value)
    brought = data.given_negatives.join(lists, on="query_id", how="anti").unique(maintain_order=True)
    named = brought.select("query_id", "passage_id", picked_by=pl.lit("given"))
    columns = [
        (pl.col(name) if name in named.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in _WITH_SOURCE.items()
    ]
    return named.select(columns)


def pairs_to_score(data: DataSet, negatives: pl.DataFrame, level: int) -> TeacherPairs:
    """The pairs of the training queries that have a positive.

    Besides the table's these are negatives that training takes from the data: judged irrelevant, and those of the lists
    of reranking.

    Args:
        data: the data set.
        negatives: query_id, passage_id.
        level: smallest grade of a positive.

    Raises:
        InputError: ids that the data set lacks, or no training query with a positive.
    """
    check_ids(data, negatives)
    data = part_of(data, WITH_INSTRUCTION)
    relevance = Relevance.of(data, level)
    lists = data.queries.filter(pl.col("task_type") == TaskType.RERANKING.value)
    irrelevant = [relevance.irrelevant(), data.given_negatives.join(lists, on="query_id", how="semi")]
    positives = relevance.positives().join(data.queries_of("train"), on="query_id", how="semi")
    if positives.is_empty():
        raise InputError("data: no query of the split train has a relevant passage; there is nothing to score")
    tables = [(POSITIVE, positives), (NEGATIVE, negatives), (IRRELEVANT, pl.concat(irrelevant))]
    named = pl.concat([table.select("query_id", "passage_id", role=pl.lit(role)) for role, table in tables])
    pairs = named.join(positives, on="query_id", how="semi").unique(
        ["query_id", "passage_id"], keep="first", maintain_order=True
    )
    queries = data.queries.join(pairs, on="query_id", how="semi").sort("query_id")
    corpus = data.corpus.join(pairs, on="passage_id", how="semi").sort("passage_id")
    rows = (
        pairs.join(queries.select("query_id").with_row_index("query"), on="query_id")
        .join(corpus.select("passage_id").with_row_index("passage"), on="passage_id")
        .sort("query", "passage")
    )
    return TeacherPairs(
        query_ids=queries["query_id"].to_list(),
        queries=queries["text"].to_list(),
        passage_ids=corpus["passage_id"].to_list(),
        passages=passage_texts(corpus).to_list(),
        query=rows["query"].to_numpy().astype(np.int64),
        passage=rows["passage"].to_numpy().astype(np.int64),
        role=rows["role"].to_numpy(),
    )
