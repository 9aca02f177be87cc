"""Sets of (query, number) pairs as sorted arrays: membership and grouping without a Python loop over pairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PairSet:
    """Distinct pairs of a query's row and a passage's or text's number, sorted by both.

    Attributes:
        keys: ``query * width + number``, int64, ascending.
        width: more than any number.
    """

    keys: np.ndarray
    width: int

    @classmethod
    def of(cls, queries: Iterable[int] | np.ndarray, numbers: Iterable[int] | np.ndarray, width: int) -> PairSet:
        """Pairs of `queries` (n,) with `numbers` (n,) below `width`; those below 0 are nothing and left out."""
        left, right = np.asarray(queries, dtype=np.int64), np.asarray(numbers, dtype=np.int64)
        real = right >= 0
        return cls(np.unique(left[real] * max(1, width) + right[real]), max(1, width))

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def queries(self) -> np.ndarray:
        """The query of each pair."""
        return self.keys // self.width

    @property
    def numbers(self) -> np.ndarray:
        """The number of each pair."""
        return self.keys % self.width

    def has(self, queries: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Whether each (query, number) is in the set; the arguments are broadcast, numbers below 0 never are."""
        left, right = np.broadcast_arrays(queries, numbers)
        if not len(self.keys):
            return np.zeros(left.shape, dtype=bool)
        wanted = left.astype(np.int64) * self.width + right
        position = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return (self.keys[position] == wanted) & (right >= 0)

    def within(self, start: int, end: int) -> PairSet:
        """The pairs of the queries start, ..., end - 1."""
        low, high = np.searchsorted(self.keys, [start * self.width, end * self.width])
        return PairSet(self.keys[low:high], self.width)

    def counts(self, queries: int) -> np.ndarray:
        """How many pairs each of the queries 0, ..., queries - 1 has."""
        return np.bincount(self.queries, minlength=queries)

    def without(self, other: PairSet) -> PairSet:
        """The pairs that `other`, of the same width, does not have."""
        return PairSet(np.setdiff1d(self.keys, other.keys, assume_unique=True), self.width)

    def union(self, other: PairSet) -> PairSet:
        """The pairs of both, of the same width."""
        return PairSet(np.union1d(self.keys, other.keys), self.width)
