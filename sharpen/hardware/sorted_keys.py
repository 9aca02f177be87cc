"""64-bit keys of very many rows, compared by sorting them: hash tables of as many keys take five times the memory."""

from __future__ import annotations

import numpy as np
import polars as pl

# keys that are looked up at once
_SLICE = 500_000


def distinct(keys: pl.Series) -> int:
    """How many different keys there are; no key is null."""
    ordered = np.sort(keys.to_numpy())
    return int((ordered[1:] != ordered[:-1]).sum()) + bool(len(ordered))


def repeated(keys: pl.Series) -> pl.Series:
    """The keys that stand in several rows, ascending, each once; no key is null."""
    ordered = np.sort(keys.to_numpy())
    return pl.Series(keys.name, np.unique(ordered[1:][ordered[1:] == ordered[:-1]]), keys.dtype)


def frequencies(keys: pl.Series) -> np.ndarray:
    """In how many rows each different key (d,) stands, by ascending keys; no key is null."""
    ordered = np.sort(keys.to_numpy())
    starts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    return np.diff(starts, prepend=0, append=len(ordered)) if len(ordered) else starts


def common(keys: pl.Series, others: pl.Series) -> pl.Series:
    """The keys that stand in both columns, ascending, each once; no key is null."""
    ordered = np.sort(keys.to_numpy())
    found = [np.empty(0, ordered.dtype)]
    for start in range(0, len(others) if len(ordered) else 0, _SLICE):
        part = np.unique(others.slice(start, _SLICE).to_numpy())
        at = np.minimum(np.searchsorted(ordered, part), len(ordered) - 1)
        found.append(part[ordered[at] == part])
    return pl.Series(keys.name, np.unique(np.concatenate(found)), keys.dtype)
