"""The texts that the slower checks look at: all, or a sample that is the same whatever the order of rows."""

from __future__ import annotations

import polars as pl

HELD_OUT = ("dev", "test")
_IN_HELD_OUT = pl.col("split").is_in(HELD_OUT)
SHOWN_CHARACTERS = 160
EXAMPLES = 5


def sample(keys: pl.Series, most: int) -> pl.Series:
    """The column row: of the rows with these text keys at most so many, those with the smallest, which are hashes and
    so a lot; all in their order, a part in none that means anything."""
    rows = pl.int_range(len(keys), dtype=pl.UInt32, eager=True).alias("row")
    return rows if len(keys) <= most else _smallest(pl.DataFrame({"row": rows, "text_key": keys}), most)


def sample_of_splits(table: pl.DataFrame, most: int, *, is_held_out: pl.Expr = _IN_HELD_OUT) -> pl.Series:
    """`sample` of a table with text_key and split, up to half of it from dev and test.

    Args:
        table: the texts.
        most: so many rows.
        is_held_out: which of them are of dev and test.
    """
    keys = table.lazy().with_row_index("row").select("row", "text_key", held_out=is_held_out)
    held_out, others = (
        keys.filter(wanted).select("row", "text_key").collect(engine="streaming")
        for wanted in (pl.col("held_out"), ~pl.col("held_out"))
    )
    chosen = _smallest(held_out, most // 2)
    return pl.concat([chosen, _smallest(others, most - len(chosen))])


def _smallest(rows: pl.DataFrame, most: int) -> pl.Series:
    """The column row of at most so many rows, those with the smallest text_key."""
    return (rows if rows.height <= most else rows.bottom_k(most, by="text_key"))["row"]


def shortened(text: str) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"
