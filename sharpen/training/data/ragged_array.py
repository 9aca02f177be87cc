"""Rows of numbers of different lengths, such as token ids, in memory or in memory-mapped Arrow tables."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import overload

import numpy as np
import polars as pl
from datasets import Dataset
from datasets.table import InMemoryTable


class RaggedArray(Sequence[np.ndarray]):
    """Row number -> its numbers, without a Python object for each row.

    Args:
        blocks: values and offsets of consecutive rows: row i of a block is ``values[offsets[i]:offsets[i + 1]]``.
    """

    def __init__(self, blocks: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        self._blocks = list(blocks)
        self._starts = list(accumulate((len(offsets) - 1 for _, offsets in blocks), initial=0))

    @classmethod
    def of_column(cls, table: Dataset, name: str) -> RaggedArray:
        """A column of lists of numbers; nothing is copied, so a memory-mapped table is read when rows are."""
        chunks = table.data.column(name).chunks
        return cls([(chunk.values.to_numpy(), chunk.offsets.to_numpy()) for chunk in chunks])

    @classmethod
    def of_rows(cls, rows: Iterable[Sequence[int] | np.ndarray]) -> RaggedArray:
        """A copy of rows of token ids in one block."""
        arrays = [np.asarray(row, dtype=np.int32) for row in rows]
        offsets = np.cumsum([0, *map(len, arrays)])
        return cls([(np.concatenate([np.empty(0, dtype=np.int32), *arrays]), offsets)])

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, row: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, row: slice) -> list[np.ndarray]: ...
    def __getitem__(self, row: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        if not 0 <= row < len(self):
            raise IndexError(row)
        block = bisect_right(self._starts, row) - 1
        values, offsets = self._blocks[block]
        position = row - self._starts[block]
        return values[offsets[position] : offsets[position + 1]]


def in_memory(table: pl.DataFrame) -> Dataset:
    """The same table as Arrow.

    `Dataset.from_polars` would take four times the memory: it pickles the table to make a fingerprint of it.
    """
    return Dataset(InMemoryTable(table.to_arrow()), fingerprint="in-memory")
