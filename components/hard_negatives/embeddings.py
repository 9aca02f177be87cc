"""The vectors of a pool's queries and passages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.core.encoder import Encoder
from components.core.errors import InputError
from components.core.vectors import vectors_of
from components.hard_negatives.pool import Pool

_ROWS_AT_ONCE = 1 << 16


def embed(
    encoder: Encoder, pool: Pool, model: str, instructions: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, d) of the queries and (m, d) of the passages, in the pool's order.

    Args:
        encoder: the model.
        pool: what is encoded.
        model: its address, for messages.
        instructions: an instruction for each query, where it has one of its own; None: the model's own prompt.

    Raises:
        InputError: an embedding is not a number.
    """
    queries = vectors_of(encoder, pool.queries, "query", instructions)
    passages = vectors_of(encoder, pool.passages, "passage")
    for kind, vectors, ids in (("query", queries, pool.query_ids), ("passage", passages, pool.passage_ids)):
        faulty = _not_finite(vectors)
        if len(faulty):
            raise InputError(
                f"{model}: the embedding of {kind} {ids[faulty[0]]} is not a number ({len(faulty):,} of {len(ids):,} "
                "such): the weights are damaged; try precision=fp32, then another model"
            )
    return queries, passages


def _not_finite(vectors: np.ndarray) -> np.ndarray:
    """Rows that hold NaN or infinity."""
    parts = [
        start + np.flatnonzero(~np.isfinite(vectors[start : start + _ROWS_AT_ONCE]).all(axis=1))
        for start in range(0, len(vectors), _ROWS_AT_ONCE)
    ]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])
