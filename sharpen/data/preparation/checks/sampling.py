"""The texts that the slower checks look at: all, or a sample that is the same whatever the order of rows."""

from __future__ import annotations

import polars as pl

HELD_OUT = ("dev", "test")
SHOWN_CHARACTERS = 160
EXAMPLES = 5


def sample(table: pl.DataFrame, most: int) -> pl.DataFrame:
    """At most so many rows of a table with text_key: those with the smallest keys, which are hashes and so a lot."""
    return table if table.height <= most else table.bottom_k(most, by="text_key")


def sample_of_splits(table: pl.DataFrame, most: int) -> pl.DataFrame:
    """`sample` of a table with text_key and split, up to half of it from dev and test."""
    is_held_out = pl.col("split").is_in(HELD_OUT)
    held_out = sample(table.filter(is_held_out), most // 2)
    return pl.concat([held_out, sample(table.filter(~is_held_out), most - held_out.height)])


def shortened(text: str) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"
