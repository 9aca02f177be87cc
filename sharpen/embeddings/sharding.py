"""Micro-batches of a chunk of texts, and which of them one process computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from sharpen.models.micro_batches import micro_batches, padded_length
from sharpen.progress import Reporter, Silent, progress


@dataclass(frozen=True)
class ShardBatch:
    """What one process computes of a chunk.

    Attributes:
        rows: (m,) of the texts.
        tokens: their token ids.
        batches: micro-batches as positions in `rows`.
        tokens_of_all: tokens of the whole chunk.
    """

    rows: np.ndarray
    tokens: list[np.ndarray]
    batches: list[np.ndarray]
    tokens_of_all: int

    @property
    def progress_scale(self) -> float:
        """How many tokens of all processes are done for each that is done here: they have the same amount to do."""
        return self.tokens_of_all / max(1, sum(map(len, self.tokens)))


class Shard:
    """One process's share of the work: all of it, unless a subclass knows of other processes.

    Attributes:
        rank, size: number of this process, and of all.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self._assigned = np.zeros(size, dtype=np.int64)

    def lengths(self, local: np.ndarray, total: int) -> np.ndarray:
        """Tokens (total,) of all texts of a chunk, from those of the texts rank, rank + size, rank + 2 size ..."""
        return local

    def progress(self, what: str) -> AbstractContextManager[Reporter]:
        """The first process reports the progress of all: they do the same amount."""
        if self.rank:
            return nullcontext(Silent())
        return progress(what if self.size == 1 else f"{what} on {self.size} processes", 0, "tokens")

    def plan(self, chunk: np.ndarray, tokens_of: Callable[[np.ndarray], list[np.ndarray]], budget: int) -> ShardBatch:
        """This process's part of a chunk.

        Args:
            chunk: (n,) rows.
            tokens_of: tokenises rows.
            budget: tokens of a micro-batch.
        """
        tokens = tokens_of(chunk[self.rank :: self.size])
        lengths = self.lengths(np.fromiter(map(len, tokens), np.int64, len(tokens)), len(chunk))
        batches = split_by_tokens(longest_first(lengths), lengths, budget)
        if self.size == 1:
            return ShardBatch(chunk, tokens, batches, int(lengths.sum()))
        mine = [
            batch for batch, owner in zip(batches, self._assign(batches, lengths), strict=True) if owner == self.rank
        ]
        # tokenised again, which is a second time at most: the tokens are elsewhere, and this costs less than their way
        rows = chunk[np.concatenate([np.empty(0, np.int64), *mine])]
        ends = np.cumsum([len(batch) for batch in mine])
        positions = np.split(np.arange(len(rows)), ends[:-1]) if mine else []
        return ShardBatch(rows, tokens_of(rows), positions, int(lengths.sum()))

    def _assign(self, batches: Sequence[np.ndarray], lengths: np.ndarray) -> list[int]:
        """The owner of each micro-batch: who has the fewest tokens, padding included, over all chunks so far."""
        owners = []
        for batch in batches:
            owner = int(self._assigned.argmin())
            self._assigned[owner] += len(batch) * padded_length(int(lengths[batch[0]]))
            owners.append(owner)
        return owners


def longest_first(lengths: np.ndarray) -> np.ndarray:
    """Order of the texts from long to short, equal ones as they came: a batch that does not fit fails at once."""
    return np.argsort(-lengths, kind="stable")


def split_by_tokens(order: np.ndarray, lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Micro-batches of at most `budget` tokens with padding: slices of `order` (n,), along which `lengths` fall."""
    return [order[start:end] for start, end in micro_batches(lengths[order].tolist(), budget)]
