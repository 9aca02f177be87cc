"""Fusions of two rankings against their definitions, over random rankings."""

from __future__ import annotations

import random

import numpy as np
import pytest

from sharpen.evaluation.systems.fusion import reciprocal_rank, weighted_minmax

Hits = list[tuple[str, float]]


def random_rankings(seed: int) -> tuple[Hits, Hits]:
    draw = random.Random(seed)

    def one() -> Hits:
        ids = draw.sample([f"p{n}" for n in range(20)], draw.randint(0, 12))
        # few values, so that there are ties
        return sorted(((p, draw.choice([0.5, 1.0, 2.5, 7.0])) for p in ids), key=lambda h: (h[1], h[0]), reverse=True)

    return one(), one()


def by_definition(score, rankings: tuple[Hits, Hits], depth: int) -> list[str]:
    ids = {passage_id for hits in rankings for passage_id, _ in hits}
    return sorted(ids, key=lambda p: (np.float32(score(p)), p), reverse=True)[:depth]


@pytest.mark.parametrize("seed", range(30))
def test_reciprocal_ranks(seed: int) -> None:
    rankings = random_rankings(seed)

    def score(passage_id: str) -> float:
        ranks = [[p for p, _ in hits].index(passage_id) + 1 for hits in rankings if passage_id in dict(hits)]
        return sum(1 / (60 + rank) for rank in ranks)

    fused = reciprocal_rank(rankings, 8)
    assert [p for p, _ in fused] == by_definition(score, rankings, 8)
    assert all(value == np.float32(score(p)) for p, value in fused)


@pytest.mark.parametrize("seed", range(30))
def test_scaled_scores(seed: int) -> None:
    first, second = random_rankings(seed)

    def scaled(hits: Hits, passage_id: str) -> float:
        scores = dict(hits)
        if passage_id not in scores:
            return 0.0
        low, high = min(scores.values()), max(scores.values())
        return 1.0 if low == high else (scores[passage_id] - low) / (high - low)

    def score(passage_id: str) -> float:
        return 0.3 * scaled(first, passage_id) + 0.7 * scaled(second, passage_id)

    fused = weighted_minmax(first, second, 0.3, 8)
    assert [p for p, _ in fused] == by_definition(score, (first, second), 8)
    assert all(value == pytest.approx(score(p), abs=1e-6) for p, value in fused)
