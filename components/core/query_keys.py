"""Which queries a model was trained on or measured with, as sorted 64-bit keys of their normalised texts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.core import storage
from components.core.text import text_id

TRAINED, MEASURED = "trained_queries.u64", "measured_queries.u64"
"""Files of an evaluation folder: keys of the data set's training queries, and of the queries that were measured."""


def keys_of(texts: Iterable[str]) -> np.ndarray:
    """Keys of texts, uint64 in their order: `text_id` as a number."""
    return np.array([int(text_id(text), 16) for text in texts], dtype=np.uint64)


def as_bytes(keys: np.ndarray) -> bytes:
    """Keys as a file: 8 bytes each, little-endian, ascending, without repeats."""
    return np.unique(keys).astype("<u8").tobytes()


def read(address: str) -> np.ndarray:
    """The keys in a file of `as_bytes`; none for an empty address. Raises NotFound (an InputError)."""
    if not address:
        return np.empty(0, dtype=np.uint64)
    return np.frombuffer(storage.read_bytes(address), dtype="<u8").astype(np.uint64)


def union(*parts: np.ndarray) -> np.ndarray:
    """All keys of the parts, ascending, once."""
    return np.unique(np.concatenate(parts)) if parts else np.empty(0, dtype=np.uint64)
