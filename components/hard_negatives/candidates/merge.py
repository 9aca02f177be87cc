"""The union of several rankings of the same corpus.

A passage's rank is the best of its ranks in the sources that found it; equal ranks are ordered by the place of their
source in ``candidate_sources``. So a passage that any source puts above the range is above the range, and one source
alone gives its ranks unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.core.search import NO_PASSAGE


@dataclass(frozen=True)
class Merged:
    """Each found passage once, best rank first.

    Attributes:
        passages: int64 (n, width) rows of the passages; `NO_PASSAGE` after the last.
        ranks: int32 (n, width) best rank, counted from 1; 0 after the last.
        sources: int8 (n, width) place of the source that gave this rank; -1 after the last.
        found_by: uint8 (n, width) bit s is set where source s found the passage.
    """

    passages: np.ndarray
    ranks: np.ndarray
    sources: np.ndarray
    found_by: np.ndarray


def merge(rankings: Sequence[np.ndarray]) -> Merged:
    """Merge the rankings of at most eight sources.

    Args:
        rankings: of each source, (n, depth) rows of distinct passages, best first; `NO_PASSAGE` after the last.
    """
    columns = sorted((rank, source) for source, found in enumerate(rankings) for rank in range(found.shape[1]))
    count = len(rankings[0])
    passages = np.empty((count, len(columns)), dtype=np.int64)
    for column, (rank, source) in enumerate(columns):
        passages[:, column] = rankings[source][:, rank]
    ranks = np.array([rank + 1 for rank, _ in columns], dtype=np.int32)
    sources = np.array([source for _, source in columns], dtype=np.int8)
    bits = (1 << sources.astype(np.int64)).astype(np.uint8)
    if len(rankings) == 1:
        return _without_empty(passages, np.argsort(passages < 0, axis=1, kind="stable"), ranks, sources, bits[None, :])

    by_passage = np.argsort(passages, axis=1, kind="stable")
    sorted_passages = np.take_along_axis(passages, by_passage, axis=1)
    first = np.ones(passages.shape, dtype=bool)
    first[:, 1:] = sorted_passages[:, 1:] != sorted_passages[:, :-1]
    starts = np.flatnonzero(first)
    every = np.bitwise_or.reduceat(bits[by_passage].ravel(), starts) if passages.size else bits[:0]
    found_by = np.zeros(passages.shape, dtype=np.uint8)
    kept = np.zeros(passages.shape, dtype=bool)
    rows = starts // passages.shape[1]
    kept[rows, by_passage.ravel()[starts]] = True
    found_by[rows, by_passage.ravel()[starts]] = every
    passages[~kept] = NO_PASSAGE
    return _without_empty(passages, np.argsort(passages < 0, axis=1, kind="stable"), ranks, sources, found_by)


def _without_empty(
    passages: np.ndarray, order: np.ndarray, ranks: np.ndarray, sources: np.ndarray, found_by: np.ndarray
) -> Merged:
    """With empty places moved to the end of each row, and all columns but one left out that are empty in all rows."""
    width = max(1, int((passages >= 0).sum(axis=1).max(initial=0)))
    order = order[:, :width]
    taken = np.take_along_axis(passages, order, axis=1)
    empty = taken < 0
    return Merged(
        passages=taken,
        ranks=np.where(empty, 0, ranks[order]),
        sources=np.where(empty, -1, sources[order]),
        found_by=np.where(empty, 0, np.take_along_axis(np.broadcast_to(found_by, passages.shape), order, axis=1)),
    )
