"""The texts that the slower checks look at: all, or a sample that is the same whatever the order of rows."""

from __future__ import annotations

import polars as pl

HELD_OUT = ("dev", "test")
# rows that are looked at together
_SLICE = 500_000
_IN_HELD_OUT = pl.col("split").is_in(HELD_OUT)
SHOWN_CHARACTERS = 160
EXAMPLES = 5


def sample(table: pl.DataFrame, most: int) -> pl.Series:
    """At most so many rows of a table with text_key, ascending: those with the smallest keys, which are hashes and so
    a lot."""
    return _smallest(table, pl.lit(True), most).sort()


def sample_of_splits(table: pl.DataFrame, most: int, *, is_held_out: pl.Expr = _IN_HELD_OUT) -> pl.Series:
    """`sample` of a table with text_key and split, up to half of it from dev and test.

    Args:
        table: the texts.
        most: so many rows.
        is_held_out: which of them are of dev and test.
    """
    held_out = _smallest(table, is_held_out, most // 2)
    return pl.concat([held_out, _smallest(table, ~is_held_out, most - len(held_out))]).sort()


def _smallest(table: pl.DataFrame, wanted: pl.Expr, most: int) -> pl.Series:
    """At most so many of the wanted rows, those with the smallest text_key."""
    found = pl.DataFrame(schema={"row": pl.UInt32, "text_key": pl.UInt64})
    for start in range(0, table.height, _SLICE):
        part = table.slice(start, _SLICE).select("text_key", wanted=wanted).with_row_index("row", start)
        rows = pl.concat([found, part.filter("wanted").drop("wanted")])
        found = rows if rows.height <= most else rows.bottom_k(most, by="text_key")
    return found["row"]


def shortened(text: str) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"
