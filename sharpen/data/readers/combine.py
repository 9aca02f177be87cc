"""Several data sets as one: no id means two things, and every table is one table."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

import polars as pl

from sharpen.data.dataset import TABLES, DataSet, stack
from sharpen.data.readers.tables import best_of_pair, without_positives


def distinct_names(stems: list[tuple[str, str]]) -> list[str]:
    """A name for each (stem, address): the stem, followed by a hash of the address where stems are alike.

    The names do not depend on the order of the addresses.
    """
    often = Counter(stem for stem, _ in stems)
    return [
        stem if often[stem] == 1 else f"{stem}-{hashlib.sha256(address.encode()).hexdigest()[:6]}"
        for stem, address in stems
    ]


def combine(parts: dict[str, DataSet]) -> DataSet:
    """Put data sets together.

    Ids stay as they are unless two parts use one id for different passages, or both use it for a query: then every
    part's own name is put before it (``name:id``).

    Args:
        parts: name -> data set; names are not part of any id otherwise.
    """
    if len(parts) == 1:
        return next(iter(parts.values()))
    passages = _clashes(parts, "corpus", "passage_id", ["title", "text"])
    queries = _clashes(parts, "queries", "query_id", None)
    renamed = [_renamed(name, part, passages, queries) for name, part in sorted(parts.items())]
    stacked = {table: stack(table, [getattr(part, table) for part in renamed]) for table in TABLES}
    qrels = best_of_pair(stacked["qrels"], "grade", ["query_id", "passage_id", "split"])
    return DataSet(
        corpus=stacked["corpus"].unique("passage_id").sort("passage_id"),
        queries=stacked["queries"].sort("query_id"),
        qrels=qrels,
        given_negatives=without_positives(stacked["given_negatives"].unique(), qrels),
        teacher_scores=best_of_pair(stacked["teacher_scores"], "score", ["query_id", "passage_id"]),
        similarity_labels=best_of_pair(stacked["similarity_labels"], "label", ["query_id", "passage_id", "split"]),
        sources=stacked["sources"].unique("source", keep="first", maintain_order=True).sort("source"),
    )


def _clashes(parts: dict[str, DataSet], table: str, key: str, contents: list[str] | None) -> pl.Series:
    """Ids that stand for different contents in several parts; with `contents` None, ids that several parts have."""
    stacked = pl.concat(
        [
            getattr(part, table).select(key, *(contents or [])).with_columns(part=pl.lit(name))
            for name, part in parts.items()
        ]
    )
    if contents:
        stacked = stacked.unique([key, *contents])
    return stacked.group_by(key).len().filter(pl.col("len") > 1)[key]


def _renamed(name: str, part: DataSet, passages: pl.Series, queries: pl.Series) -> DataSet:
    clashing = {"passage_id": passages, "query_id": queries}
    if passages.is_empty() and queries.is_empty():
        return part
    tables = {}
    for table in TABLES:
        frame: pl.DataFrame = getattr(part, table)
        tables[table] = frame.with_columns(
            pl.when(pl.col(key).is_in(ids.implode()))
            .then(pl.lit(f"{name}:") + pl.col(key))
            .otherwise(pl.col(key))
            .alias(key)
            for key, ids in clashing.items()
            if key in frame.columns
        )
    return replace(part, **tables)
