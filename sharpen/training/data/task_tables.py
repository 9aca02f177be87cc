"""The examples of one task as tables, and those of several as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from sharpen.training.data.examples import Examples, Facts, TrainingTask
from sharpen.training.data.ragged_array import in_memory

_NUMBERS = ("positives", "never_negatives", "negatives", "scored")
_LIST = pl.List(pl.Int64)


@dataclass(frozen=True)
class TaskTables:
    """The examples of a task; its texts are numbered from 0.

    Attributes:
        task: what is learned.
        rows: a row a query as `Examples` has them, but source by its name; of labelled texts `labels` besides.
        texts: a row a text: text_id, text, text_key, and of labelled texts `labels`.
        counts: what was taken and left out -> how often.
    """

    task: TrainingTask
    rows: pl.DataFrame
    texts: pl.DataFrame
    counts: dict[str, int]


def joined(tables: Sequence[TaskTables], *, distilled: bool) -> Examples:
    """The examples of all `tables`, texts numbered one task after another; `distilled`: there are teacher scores."""
    sources = sorted({name for table in tables for name in table.rows["source"].unique()})
    rows, texts, tasks, counts, first = [], [], [], Counter[str](), 0
    for number, table in enumerate(tables):
        end = first + table.texts.height
        task = replace(table.task, first_text=first, end_text=end)
        tasks.append(task)
        symmetric = pl.lit(task.symmetric).alias("symmetric")
        shifted = [_shifted(name, first) for name in _NUMBERS] if first else []
        rows.append(
            _with_labels(table.rows).with_columns(
                *shifted,
                symmetric,
                pl.col("source").replace_strict(sources, range(len(sources)), return_dtype=pl.Int64),
                task=pl.lit(number, pl.Int64),
            )
        )
        texts.append(_with_labels(table.texts).with_columns(symmetric))
        counts.update(table.counts)
        first = end
    return Examples(
        in_memory(pl.concat(rows, how="diagonal", rechunk=True)),
        in_memory(pl.concat(texts, rechunk=True)),
        Facts(sources, dict(counts), distilled, tasks),
    )


def _with_labels(table: pl.DataFrame) -> pl.DataFrame:
    return table if "labels" in table.columns else table.with_columns(labels=pl.lit([], dtype=_LIST))


def _shifted(name: str, by: int) -> pl.Expr:
    return pl.col(name).list.eval(pl.element() + by)


def numbers_of(table: pl.DataFrame, *columns: str) -> pl.Series:
    """Numbers of the rows, equal for rows that are equal in these columns, in the order of their first rows."""
    first = table.select(*columns).with_row_index("row").select(pl.col("row").first().over(columns))
    return (first["row"].rank("dense").cast(pl.Int64) - 1).alias("number")
