"""Matrices of vectors that may be larger than the memory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from sharpen.store import local_store

# From here on a matrix is a file: 175,000 vectors of 384 numbers.
IN_MEMORY_BYTES = 256 * 2**20
_ROWS_AT_ONCE = 1 << 16


def empty_matrix(rows: int, dimension: int, folder: Path | None = None) -> np.ndarray:
    """A matrix (rows, dimension, float32) to fill: in memory if it is small, else a memory-mapped file.

    The file has no name, so that it is gone when the last one who maps it ends, whatever ends it.

    Args:
        rows, dimension: its shape.
        folder: where the file takes its space; the system's folder for temporary files by default.

    Raises:
        InputError: the disk is full.
    """
    size = rows * dimension * np.dtype(np.float32).itemsize
    if size < IN_MEMORY_BYTES:
        return np.empty((rows, dimension), dtype=np.float32)
    directory = folder or Path(tempfile.gettempdir())
    with local_store.translate_os_errors(directory), tempfile.TemporaryFile(dir=directory) as file:
        # taken now: a full disk would end the process with a signal when a page is written
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return np.memmap(file, dtype=np.float32, mode="r+", shape=(rows, dimension))


def not_finite(vectors: np.ndarray) -> np.ndarray:
    """Rows, ascending, of a matrix (n, d) that hold NaN or infinity; a memory-mapped one is read block by block."""
    parts = [
        start + np.flatnonzero(~np.isfinite(vectors[start : start + _ROWS_AT_ONCE]).all(axis=1))
        for start in range(0, len(vectors), _ROWS_AT_ONCE)
    ]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])
