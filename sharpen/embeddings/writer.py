"""Embeddings as they are computed, kept as shards."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Self

import numpy as np

from sharpen.embeddings.shards import ShardFolder

# A shard is written when it holds this much, or when this time has gone by: what a killed run has to do again.
SHARD_BYTES = 64 * 2**20
SHARD_SECONDS = 60.0


class ShardWriter:
    """Gathers embeddings and writes them as shards; what is finished is kept when the work is broken off.

    Attributes:
        unfit: rows whose embeddings are not finite numbers, which are not kept.
    """

    def __init__(self, cache: ShardFolder, keys: np.ndarray) -> None:
        self.cache, self.keys = cache, keys
        self.unfit: list[int] = []
        self._rows: list[np.ndarray] = []
        self._vectors: list[np.ndarray] = []
        self._bytes, self._since = 0, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.flush()
            return
        # the error that broke the work off is the one to tell
        with suppress(Exception):
            self.flush()

    def add(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Take the embeddings (m, d) of some rows (m,) of the keys."""
        finite = np.isfinite(vectors).all(axis=1)
        self.unfit += rows[~finite].tolist()
        self._rows.append(rows[finite])
        self._vectors.append(vectors[finite])
        self._bytes += vectors.nbytes
        if self._bytes >= SHARD_BYTES or time.monotonic() - self._since >= SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is gathered as a shard."""
        rows, vectors = self._rows, self._vectors
        self._rows, self._vectors = [], []
        self._bytes, self._since = 0, time.monotonic()
        if sum(map(len, rows)):
            self.cache.add(self.keys[np.concatenate(rows)], np.concatenate(vectors))
