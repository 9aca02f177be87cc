"""Which components of queries are held out as dev and test.

It is drawn by a hash of their names, so that training again on more data rarely moves a query from one split to
another, or decided by time: the newest are held out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

LEAST_OF_TARGET, MOST_OF_TARGET = 0.9, 1.1
TRAIN = "train"


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


def assign(
    sizes: Mapping[str, int],
    slices: list[Slice],
    seed: int,
    *,
    fixed: Mapping[str, int] | None = None,
    newest: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """Component -> split for the components that are cut out; all others stay in train.

    By hash: every component draws a lot in [0, 1), and every slice owns an interval as wide as its share. A slice takes
    the components in its interval, up to `MOST_OF_TARGET` of its share, and goes on behind the interval while it has
    less than `LEAST_OF_TARGET`. So with many components a query keeps its split when data are added, and with few the
    splits still have about their sizes. By time: a slice takes the newest components until it has its share; of equally
    new ones the lot decides.

    A component larger than `Slice.largest` is not taken. A slice that would stay empty gets the smallest component, by
    time the newest, and train keeps one always.

    Args:
        sizes: component -> number of queries.
        slices: what to cut out; their intervals lie one behind the other from 0.
        seed: seed of the lots.
        fixed: split -> queries that are in it already, whatever is drawn; none of them is in `sizes`.
        newest: component -> time of its newest query, for a cut by time; a component that is not in it stays in train.
    """
    fixed = fixed or {}
    queries = sum(sizes.values()) + sum(fixed.values())
    lots = {name: lot(seed, name) for name in sizes}
    taken: dict[str, str] = {}
    start = 0.0
    for part in slices:
        left = [name for name in sizes if name not in taken and (newest is None or name in newest)]
        if newest is None:
            left.sort(key=lambda name: ((lots[name] - start) % 1, name))
            inside = {name for name in left if (lots[name] - start) % 1 < part.share}
        else:
            left.sort(key=lambda name: (-newest[name], lots[name], name))
            inside = set()
        least = LEAST_OF_TARGET if newest is None else 1.0
        before = fixed.get(part.split, 0)
        chosen = _fill(part, {name: sizes[name] for name in left}, inside, queries, before, least)
        spare = len(sizes) - len(taken) - (0 if fixed.get(TRAIN) else 1)
        if not chosen and not before and part.share and left and spare > 0:
            first = left[0] if newest else min(left, key=lambda name: (sizes[name], lots[name]))
            chosen = [first] if sizes[first] <= part.most else []
        taken |= dict.fromkeys(chosen[: max(0, spare)], part.split)
        start += part.share
    return taken


def _fill(
    part: Slice, sizes: Mapping[str, int], inside: set[str], queries: int, before: int, least: float
) -> list[str]:
    """The components that a slice takes, of those in `sizes`, in this order.

    Args:
        part: the slice.
        sizes: component -> number of queries.
        inside: components that are in its interval.
        queries: of all splits.
        before: queries that the slice has already.
        least: share of its target with which it looks no further than its interval.
    """
    target = part.target(queries)
    most = min(math.ceil(MOST_OF_TARGET * target), part.most)
    chosen, total = [], before
    for name, size in sizes.items():
        if name not in inside and total >= least * target:
            break
        if size <= part.largest(queries) and total + size <= most:
            chosen.append(name)
            total += size
    return chosen
