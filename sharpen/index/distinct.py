"""The best passages where a passage may have several vectors: its score is that of its best one.

A search for vectors is asked for more of them than passages are wanted. The vectors that it gives are the best ones, so
the first of each passage among them is the passage's best, and the first k passages are the k best. Where there are
fewer than k, twice as many vectors are searched, at last so many that k passages must be among them
(`PassageRows.sufficient`): the answer of an exact search stays exact. Vectors of equal scores are ordered by row, and
with them their passages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from sharpen.embeddings import PassageRows
from sharpen.index.exact import NO_PASSAGE, QUERY_BLOCK, Neighbours, top_k

Find = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""Queries (n, d) and a depth -> scores and rows (n, depth) of the best vectors, padded with -inf and `NO_PASSAGE`."""

# Vectors that are searched first, as a multiple of what k passages have on average.
_FIRST = 1.5


def best_vectors(find: Find, queries: np.ndarray, rows: PassageRows, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The best vector of each of the `k` best passages.

    Args:
        find: a search for vectors.
        queries: (n, d).
        rows: which passage each vector is of.
        k: how many passages.

    Returns:
        scores, float32 (n, k), and rows of vectors, int64 (n, k), padded with -inf and `NO_PASSAGE`.
    """
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    vectors = np.full((len(queries), k), NO_PASSAGE, dtype=np.int64)
    most, waiting = rows.sufficient(k), np.arange(len(queries))
    depth = min(most, int(np.ceil(_FIRST * k * len(rows.passages) / len(rows))))
    while len(waiting):
        found_scores, found = find(queries[waiting], depth)
        first = _first_of_each(rows.passages_of(found))
        rank = np.cumsum(first, axis=1)
        enough = (rank[:, -1] >= k) | (depth >= most)
        query, column = np.nonzero(first & (rank <= k) & enough[:, None])
        scores[waiting[query], rank[query, column] - 1] = found_scores[query, column]
        vectors[waiting[query], rank[query, column] - 1] = found[query, column]
        waiting, depth = waiting[~enough], min(most, 2 * depth)
    return scores, vectors


def passage_blocks(find: Find, queries: np.ndarray, rows: PassageRows, k: int) -> Iterator[Neighbours]:
    """The `k` best passages of blocks of consecutive queries; other arguments as for `best_vectors`."""
    for start in range(0, len(queries), QUERY_BLOCK):
        scores, vectors = best_vectors(find, queries[start : start + QUERY_BLOCK], rows, k)
        yield Neighbours(start, scores, rows.passages_of(vectors))


def top_passages(
    queries: np.ndarray, vectors: np.ndarray, rows: PassageRows | None, k: int, *, device: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`exact.top_k` of passages: scores and rows (n, k) of the best ones.

    Args:
        queries: (n, d).
        vectors: (v, d) of the passages.
        rows: which passage each is of; None: each has one.
        k: how many passages.
        device: as for `top_k`.
    """
    if rows is None:
        return top_k(queries, vectors, k, device=device)
    blocks = list(passage_blocks(lambda block, depth: top_k(block, vectors, depth, device=device), queries, rows, k))
    empty = np.empty((0, k), dtype=np.float32), np.empty((0, k), dtype=np.int64)
    return (
        np.concatenate([empty[0], *(block.scores for block in blocks)]),
        np.concatenate([empty[1], *(block.indices for block in blocks)]),
    )


def _first_of_each(passages: np.ndarray) -> np.ndarray:
    """Which of passages (n, width) stand first in their row; none of `NO_PASSAGE`."""
    width = int(passages.max(initial=0)) + 2
    keys = (np.arange(len(passages))[:, None] * width + passages + 1).ravel()
    first = np.zeros(keys.shape, dtype=bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return first.reshape(passages.shape) & (passages != NO_PASSAGE)
