"""The union of several rankings of the same corpus.

A passage's rank is the best of its ranks in the sources that found it; equal ranks are ordered by the position of their
source in ``candidate_sources``. So a passage that any source puts above the range is above the range, and one source
alone gives its ranks unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sharpen.index.exact import NO_PASSAGE


@dataclass(frozen=True)
class Merged:
    """Each found passage once, best rank first.

    Attributes:
        passages: int64 (n, width) rows of the passages; `NO_PASSAGE` after the last.
        ranks: int32 (n, width) best rank, counted from 1; 0 after the last.
        sources: int8 (n, width) index of the source that gave this rank; -1 after the last.
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
    count, depth = rankings[0].shape
    ranks = np.repeat(np.arange(1, depth + 1, dtype=np.int32), len(rankings))
    sources = np.tile(np.arange(len(rankings), dtype=np.int8), depth)
    # all first ranks, then all second ones ...
    passages = np.stack(rankings, axis=2).reshape(count, -1).astype(np.int64)
    found_by = np.broadcast_to((1 << sources.astype(np.int64)).astype(np.uint8), passages.shape)
    columns = np.broadcast_to(np.arange(len(ranks)), passages.shape)
    if len(rankings) > 1:
        passages, found_by = _once(passages, found_by)
        columns = np.argsort(passages < 0, axis=1, kind="stable")
        columns = columns[:, : max(1, int((passages >= 0).sum(axis=1).max(initial=0)))]
    taken = np.take_along_axis(passages, columns, axis=1)
    empty = taken < 0
    return Merged(
        passages=taken,
        ranks=np.where(empty, 0, ranks[columns]),
        sources=np.where(empty, -1, sources[columns]),
        found_by=np.where(empty, 0, np.take_along_axis(found_by, columns, axis=1)),
    )


def _once(passages: np.ndarray, found_by: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each passage of a row at its first position only, with the bits of all; `NO_PASSAGE` in the others."""
    by_passage = np.argsort(passages, axis=1, kind="stable")
    ordered = np.take_along_axis(passages, by_passage, axis=1)
    first = np.ones(passages.shape, dtype=bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    starts = np.flatnonzero(first)
    rows, columns = starts // passages.shape[1], by_passage.ravel()[starts]
    once, bits = np.full(passages.shape, NO_PASSAGE, dtype=np.int64), np.zeros(passages.shape, dtype=np.uint8)
    once[rows, columns] = ordered.ravel()[starts]
    bits[rows, columns] = np.bitwise_or.reduceat(np.take_along_axis(found_by, by_passage, axis=1).ravel(), starts)
    return once, bits
