"""Working sets made by hand: queries with their positives, groups and times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from sharpen.data.dataset import CORPUS, QRELS, QUERIES, DataSet
from sharpen.data.preparation.splits.components import GROUPS
from sharpen.data.preparation.working_set import WorkingSet
from sharpen.data.text import text_key

NO_GROUPS = pl.DataFrame(schema=GROUPS)
DAY_0 = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    """A query: its id, text and positives, and perhaps its group and the day on which it was put."""

    query_id: str
    text: str
    positives: tuple[str, ...]
    group: str | None = None
    day: float | None = None
    split: str = "train"


def rows(count: int, **more: object) -> list[Row]:
    """So many queries, each with a passage that is its alone; day n for the n-th."""
    return [Row(f"q{n}", f"question {n}", (f"p{n}",), day=n, **more) for n in range(count)]  # type: ignore[arg-type]


def working_set(queries: Iterable[Row]) -> WorkingSet:
    """The rows as data_prep has them after merging."""
    queries = list(queries)
    times = [None if row.day is None else DAY_0 + timedelta(days=row.day) for row in queries]
    table = pl.DataFrame(
        [(row.query_id, row.text, row.split, "log", "", row.group) for row in queries], schema=QUERIES, orient="row"
    ).with_columns(time=pl.Series(times, dtype=pl.Datetime("us", "UTC")))
    pairs = [(row.query_id, passage, 1, row.split) for row in queries for passage in row.positives]
    passages = sorted({passage for row in queries for passage in row.positives})
    corpus = pl.DataFrame([(name, "", f"passage {name}") for name in passages], schema=CORPUS, orient="row")
    return WorkingSet(DataSet(corpus, table.sort("query_id"), pl.DataFrame(pairs, schema=QRELS, orient="row")))


def groups_of(queries: Iterable[Row]) -> pl.DataFrame:
    """The table of groups that reading the rows gives."""
    found = sorted({(text_key(row.text), row.group) for row in queries if row.group})
    return pl.DataFrame(found, schema=GROUPS, orient="row")


def splits(work: WorkingSet) -> dict[str, set[str]]:
    """Split -> ids of its queries."""
    return {name: set(work.data.queries_of(name)["query_id"]) for name in ("train", "dev", "test")}
