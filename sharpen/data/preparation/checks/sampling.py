"""The texts that the slower checks look at: all, or a sample that is the same whatever the order of rows."""

from __future__ import annotations

import polars as pl

HELD_OUT = ("dev", "test")
SHOWN_CHARACTERS = 160
EXAMPLES = 5


def sample(table: pl.DataFrame, most: int) -> pl.DataFrame:
    """At most so many rows of a table with text_key: those with the smallest keys, which are hashes and so a lot."""
    return table if table.height <= most else table[_smallest_keys(table.select("text_key"), most)]


def sample_of_splits(table: pl.DataFrame, most: int) -> pl.DataFrame:
    """`sample` of a table with text_key and split, up to half of it from dev and test."""
    keys = table.select("text_key", held_out=pl.col("split").is_in(HELD_OUT)).with_row_index("row")
    held_out = _smallest_keys(keys.filter("held_out"), most // 2)
    return table[pl.concat([held_out, _smallest_keys(keys.filter(~pl.col("held_out")), most - len(held_out))])]


def _smallest_keys(keys: pl.DataFrame, most: int) -> pl.Series:
    """The column row (else the number) of at most so many rows, so that others than these are not copied."""
    rows = keys if "row" in keys.columns else keys.with_row_index("row")
    return (rows if rows.height <= most else rows.bottom_k(most, by="text_key"))["row"]


def shortened(text: str) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"
