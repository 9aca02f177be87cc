"""The vectors of a pool's queries and passages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sharpen.embeddings import LazyEncoder, embed_texts, not_finite
from sharpen.errors import InputError
from sharpen.mining.corpus import MiningCorpus


def embed(
    encoder: LazyEncoder, pool: MiningCorpus, model: str, instructions: Sequence[str] | None
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
    queries = embed_texts(encoder, pool.queries, "query", instructions)
    passages = embed_texts(encoder, pool.passages, "passage")
    for kind, vectors, ids in (("query", queries, pool.query_ids), ("passage", passages, pool.passage_ids)):
        faulty = not_finite(vectors)
        if len(faulty):
            raise InputError(
                f"{model}: the embedding of {kind} {ids[faulty[0]]} is not a number ({len(faulty):,} of {len(ids):,} "
                "such): the weights are damaged; try precision=fp32, then another model"
            )
    return queries, passages
