"""The fingerprint of tables: equal rows, equal fingerprint, whatever their order and the files they stand in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import polars as pl

# Rows that are in memory a second time at once; the fingerprint does not depend on it.
_SLICE = 20_000
_FREE_TEXT = ("title", "text")


def fingerprint(tables: Mapping[str, pl.DataFrame]) -> str:
    """SHA-256 (hex) of tables: of the lines ``<table> <rows>`` and, for each column, ``<column> <SHA-256>``.

    Rows are sorted by all columns but title and text, which follow from the ids. The SHA-256 of a column is that of
    three digests: of a byte a row that is 1 where the cell is empty; of the values (numbers, and times as microseconds
    since 1970: 64 bits, little-endian; texts: their lengths in UTF-8 bytes, as such numbers); and of the UTF-8 bytes of
    all texts.

    Args:
        tables: name -> table of text, number, truth and time columns; the order of tables and columns counts.
    """
    digest = hashlib.sha256()
    for name, table in tables.items():
        by = [column for column in table.columns if column not in _FREE_TEXT]
        ordered = table if _is_ordered(table, by) else table.sort(by)
        digest.update(f"{name} {table.height}\n".encode())
        for column in ordered.columns:
            digest.update(f"{column} {_of_column(ordered.select(column))}\n".encode())
    return digest.hexdigest()


def _is_ordered(table: pl.DataFrame, by: list[str]) -> bool:
    """Whether each row is larger than the one before it in these columns, so that sorting would change nothing."""
    # slices overlap by a row
    slices = (table.select(by).slice(start, _SLICE + 1) for start in range(0, table.height, _SLICE))
    return all(map(_is_slice_ordered, slices))


def _is_slice_ordered(table: pl.DataFrame) -> bool:
    equal = pl.Series([True]).new_from_index(0, max(0, table.height - 1))
    for values in table.iter_columns():
        if values.null_count() or values.dtype.is_float():
            return False
        before, after = values.head(-1), values.tail(-1)
        if ((before > after) & equal).any():
            return False
        equal &= before == after
        if not equal.any():
            return True
    return not equal.any()


def _of_column(column: pl.DataFrame) -> str:
    empty, numbers, texts = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    for start in range(0, column.height, _SLICE):
        part = column.slice(start, _SLICE).to_series()
        empty.update(part.is_null().to_numpy().astype(np.uint8).tobytes())
        if part.dtype == pl.String:
            part = part.fill_null("")
            texts.update(part.str.join("").item().encode())
            part = part.str.len_bytes()
        if part.dtype.is_temporal():
            part = part.to_physical()
        kind, little_endian = (pl.Float64, "<f8") if part.dtype.is_float() else (pl.Int64, "<i8")
        numbers.update(part.cast(kind).fill_null(0).to_numpy().astype(little_endian).tobytes())
    return hashlib.sha256(empty.digest() + numbers.digest() + texts.digest()).hexdigest()
