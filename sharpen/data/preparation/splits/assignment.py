"""Which components of queries are held out as dev and test.

It is drawn by a hash of their names, so that training again on more data rarely moves a query from one split to
another, or decided by time: the newest are held out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
import polars as pl

from sharpen.hardware.spill import rows_of

LEAST_OF_TARGET, MOST_OF_TARGET = 0.9, 1.1
TRAIN = "train"
# names that are Python strings at once
_SLICE = 20_000


@dataclass(frozen=True)
class Slice:
    """One split to cut out: its name, its share of the queries, and the most queries that it may get."""

    split: str
    share: float
    most: int

    def target(self, queries: int) -> float:
        """How many of so many queries it should get."""
        return min(self.share * queries, self.most)

    def largest(self, queries: int) -> float:
        """The most queries of a component that it takes: half of its target, so that no single file makes a test."""
        return max(1, self.target(queries) / 2)


def lot(seed: int, name: str) -> float:
    """A number in [0, 1) drawn for a name: the same for the same seed and name, on every machine."""
    digest = hashlib.blake2b(f"{seed}\n{name}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def lots(seed: int, names: pl.Series) -> pl.Series:
    """The `lot` of each of the `names`, as a column named lot."""
    parts = [
        pl.Series([lot(seed, name) for name in names.slice(start, _SLICE)], dtype=pl.Float64)
        for start in range(0, len(names), _SLICE)
    ]
    return pl.concat([pl.Series("lot", [], pl.Float64), *parts])


def assign(
    units: pl.DataFrame,
    slices: list[Slice],
    seed: int,
    *,
    fixed: Mapping[str, int] | None = None,
    by_time: bool = False,
) -> dict[int, str]:
    """Row of `units` -> split for the units that are cut out; all others stay in train.

    By hash: every unit draws a lot in [0, 1), and every slice owns an interval as wide as its share. A slice takes
    the units in its interval, up to `MOST_OF_TARGET` of its share, and goes on behind the interval while it has
    less than `LEAST_OF_TARGET`. So with many units a query keeps its split when data are added, and with few the
    splits still have about their sizes. By time: a slice takes the newest units until it has its share; of equally
    new ones the lot decides.

    A unit larger than `Slice.largest` is not taken. A slice that would stay empty gets the smallest unit, by
    time the newest, and train keeps one always.

    Args:
        units: unit (its name) and size, its number of queries; for a cut by time newest, the time of its newest query
            as a number, null where it is not known: then it stays in train.
        slices: what to cut out; their intervals lie one behind the other from 0.
        seed: seed of the lots.
        fixed: split -> queries that are in it already, whatever is drawn; none of them is in `units`.
        by_time: whether the newest units are cut out.
    """
    fixed = fixed or {}
    queries = int(units["size"].sum()) + sum(fixed.values())
    drawn = lots(seed, units["unit"]).to_numpy()
    left = units["newest"].is_not_null().to_numpy().copy() if by_time else np.ones(units.height, bool)
    sizes = units["size"].to_numpy()
    taken: dict[int, str] = {}
    start = 0.0
    for part in slices:
        # numpy's remainder is that of Python
        behind = -units["newest"].fill_null(0).to_numpy() if by_time else (drawn - start) % 1
        keys = {"behind": behind, **({"lot": drawn} if by_time else {})}
        inside = left & (behind < part.share) if not by_time else np.zeros_like(left)
        rows = chain(((row, True) for row in _in_order(units, inside, keys)), _others(units, left & ~inside, keys))
        before = fixed.get(part.split, 0)
        chosen = _fill(part, sizes, rows, queries, before, 1.0 if by_time else LEAST_OF_TARGET)
        spare = units.height - len(taken) - (0 if fixed.get(TRAIN) else 1)
        if not chosen and not before and part.share and left.any() and spare > 0:
            first = _in_order(units, left, keys if by_time else {"size": sizes, "lot": drawn, **keys})[0]
            chosen = [first] if sizes[first] <= part.most else []
        taken |= dict.fromkeys(chosen[: max(0, spare)], part.split)
        left[list(taken)] = False
        start += part.share
    return taken


def _in_order(units: pl.DataFrame, mask: np.ndarray, keys: Mapping[str, np.ndarray]) -> pl.Series:
    """The rows where a mask (n,) holds, in the order of these keys (n,) and then of the names of the units."""
    rows = np.flatnonzero(mask)
    table = pl.DataFrame({name: key[rows] for name, key in keys.items()})
    table = table.with_columns(rows_of(units.select("unit"), pl.Series(rows))["unit"], row=pl.Series(rows))
    return table.sort(*keys, "unit")["row"]


def _others(units: pl.DataFrame, mask: np.ndarray, keys: Mapping[str, np.ndarray]) -> Iterator[tuple[int, bool]]:
    """The rows of `_in_order`, which are not inside; sorted only where they are asked for."""
    yield from ((row, False) for row in _in_order(units, mask, keys))


def _fill(
    part: Slice, sizes: np.ndarray, rows: Iterable[tuple[int, bool]], queries: int, before: int, least: float
) -> list[int]:
    """The rows of the units that a slice takes.

    Args:
        part: the slice.
        sizes: (n,) number of queries of each unit.
        rows: rows that it may take, in this order, and whether they are in its interval.
        queries: of all splits.
        before: queries that the slice has already.
        least: share of its target with which it looks no further than its interval.
    """
    target = part.target(queries)
    most = min(math.ceil(MOST_OF_TARGET * target), part.most)
    chosen, total = [], before
    for row, inside in rows:
        if total >= most or (not inside and total >= least * target):
            break
        size = int(sizes[row])
        if size <= part.largest(queries) and total + size <= most:
            chosen.append(row)
            total += size
    return chosen
