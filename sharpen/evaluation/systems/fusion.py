"""Two rankings made one.

- Reciprocal rank fusion: sum of 1 / (60 + rank) over the rankings that hold the passage (Cormack, Clarke & Büttcher,
  SIGIR 2009).
- Min-max: scores of a ranking scaled so that its first hit has 1 and its last 0, then the weighted sum (the convex
  combination of Bruch, Gai & Ingber, TOIS 2023). A passage that a ranking lacks has 0 there; a ranking of equal scores
  has 1 throughout.

Sums are rounded to float32, as a run file holds them, and ties are broken by id, descending.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

RRF_K = 60

Hits = Sequence[tuple[str, float]]


def reciprocal_rank(rankings: Sequence[Hits], depth: int) -> list[tuple[str, float]]:
    """The best `depth` of one query's `rankings` by reciprocal rank fusion, best first."""
    sums: dict[str, float] = {}
    for hits in rankings:
        for rank, (passage_id, _) in enumerate(hits, start=1):
            sums[passage_id] = sums.get(passage_id, 0.0) + 1 / (RRF_K + rank)
    return _ordered(sums, depth)


def weighted_minmax(first: Hits, second: Hits, weight: float, depth: int) -> list[tuple[str, float]]:
    """The best `depth` of two rankings of one query, best first.

    Args:
        first, second: the rankings.
        weight: of the first, between 0 and 1; the second has the rest.
        depth: most hits.
    """
    sums: dict[str, float] = {}
    for hits, share in ((first, weight), (second, 1 - weight)):
        scores = [score for _, score in hits]
        low, high = min(scores, default=0.0), max(scores, default=0.0)
        for passage_id, score in hits:
            scaled = (score - low) / (high - low) if high > low else 1.0
            sums[passage_id] = sums.get(passage_id, 0.0) + share * scaled
    return _ordered(sums, depth)


def _ordered(sums: Mapping[str, float], depth: int) -> list[tuple[str, float]]:
    rounded = {passage_id: float(np.float32(value)) for passage_id, value in sums.items()}
    return sorted(rounded.items(), key=lambda hit: (hit[1], hit[0]), reverse=True)[:depth]
