"""Seeded random numbers of one query each, so that no result depends on the order of the queries."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import IntEnum

import numpy as np


class RngStream(IntEnum):
    """What is drawn; each purpose has a stream of its own, so that none shifts another."""

    SAMPLE = 1
    CORPUS = 2
    CORPUS_AGAIN = 3
    HIDE = 4
    EXAMPLES = 5
    JUDGE = 6


def generator(seed: int, key: str, purpose: RngStream) -> np.random.Generator:
    """The generator of a `seed` for one query (its id as `key`) and one `purpose`."""
    number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
    return np.random.default_rng([seed, number, purpose])


def priorities(seed: int, query_ids: Sequence[str], width: int) -> np.ndarray:
    """Uniform numbers (queries, width) by `seed` and `query_ids`: the smallest ones are a draw without replacement."""
    found = np.empty((len(query_ids), width))
    for row, query_id in enumerate(query_ids):
        found[row] = generator(seed, query_id, RngStream.SAMPLE).random(width)
    return found


def passages(
    seed: int, query_ids: Sequence[str], count: int, wanted: Sequence[int] | np.ndarray, purpose: RngStream
) -> np.ndarray:
    """Distinct rows of a corpus of `count` passages, random by `seed`, `query_ids` and `purpose`.

    Returns:
        int64 (queries, widest): the first `wanted[i]` entries of row i, at most `count`; the rest is -1.
    """
    sizes = np.minimum(np.asarray(wanted, dtype=np.int64), count)
    drawn = np.full((len(query_ids), int(sizes.max(initial=0))), -1, dtype=np.int64)
    for row, (query_id, size) in enumerate(zip(query_ids, sizes.tolist(), strict=True)):
        if size:
            drawn[row, :size] = generator(seed, query_id, purpose).choice(count, size=size, replace=False)
    return drawn
