"""The choice of negatives among ranked passages.

First the range is sampled, then what is missing is topped up from further ranks and from the whole corpus, and the
user's own negatives are added. A passage that a rule filters out (rules.py) is emitted by none of these.
Given negatives meet the first two rules only: the margins are for what nobody has looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.hard_negatives import draws
from components.hard_negatives.at_random import draw
from components.hard_negatives.pool import Pool
from components.hard_negatives.rules import FIT, Ranking, ScorePairs, first, judge
from components.hard_negatives.scope import Scope
from components.hard_negatives.settings import MiningSettings

PICKED_BY = ("search", "further_rank", "random", "given")
SEARCH, FURTHER_RANK, RANDOM, GIVEN = range(4)
UNRANKED = 0


@dataclass(frozen=True)
class Choice:
    """The chosen negatives of a `Ranking`, by query, then in the order of `PICKED_BY`, then by rank or draw.

    Attributes:
        place: row of the query in the ranking.
        passage: row of the passage.
        rank: rank in the whole search, counted from 1; `UNRANKED` for a passage that the search did not reach.
        score, picked_by: its score, and its place in `PICKED_BY`.
        verdicts: (n, depth) the verdict of `judge` on each ranked passage.
        topped_up: (n, 2) negatives taken from further ranks and, beyond ``random_share``, at random.
        short: (n,) how many negatives are missing in the end.
    """

    place: np.ndarray
    passage: np.ndarray
    rank: np.ndarray
    score: np.ndarray
    picked_by: np.ndarray
    verdicts: np.ndarray
    topped_up: np.ndarray
    short: np.ndarray


def choose(ranking: Ranking, pool: Pool, settings: MiningSettings, scope: Scope, score_pairs: ScorePairs) -> Choice:
    """Choose the negatives of the ranked queries.

    Args:
        ranking: what the search found.
        pool: known positives, texts and given negatives.
        settings: number, sampling, rules and seed.
        scope: the ranks to take from, clipped to the corpus.
        score_pairs: scores the passages that are drawn at random and the given ones.
    """
    verdicts = judge(ranking, pool, settings)
    fit = verdicts == FIT
    at_random = int(settings.random_share * settings.negative_number + 0.5)

    sampled = np.zeros_like(fit)
    sampled[:, scope.start : scope.end] = _sample(
        ranking, pool, settings, scope, fit, settings.negative_number - at_random
    )
    missing = settings.negative_number - at_random - sampled.sum(axis=1)
    further = np.zeros_like(fit)
    after = slice(scope.end, scope.end + scope.further)
    further[:, after] = first(fit[:, after], missing)
    missing = missing - further.sum(axis=1)
    picks = [_ranked(ranking, sampled, SEARCH), _ranked(ranking, further, FURTHER_RANK)]

    wanted = at_random + (missing if settings.top_up.endswith("random") else np.zeros_like(missing))
    barred = sampled | further
    barred[:, : scope.start] = True
    drawn = draw(ranking, pool, settings, score_pairs, barred, wanted)
    unranked = np.full(len(drawn.place), UNRANKED, dtype=np.int32)
    picks.append((drawn.place, drawn.passage, unranked, drawn.score, np.full(len(unranked), RANDOM, dtype=np.int8)))
    picks.append(_given(ranking, pool, score_pairs))

    columns = [np.concatenate(column) for column in zip(*picks, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return Choice(
        *(column[order] for column in columns),
        verdicts=verdicts,
        topped_up=np.stack([further.sum(axis=1), np.maximum(0, drawn.taken - at_random)], axis=1),
        short=missing + at_random - drawn.taken,
    )


def _sample(
    ranking: Ranking, pool: Pool, settings: MiningSettings, scope: Scope, fit: np.ndarray, wanted: int
) -> np.ndarray:
    """Which positions of the range (n, end - start) are taken."""
    eligible = fit[:, scope.start : scope.end]
    if settings.sampling == "top":
        return first(eligible, np.full(len(fit), wanted))
    ids = [pool.query_ids[row] for row in ranking.queries]
    priority = np.where(eligible, draws.priorities(settings.seed, ids, eligible.shape[1]), np.inf)
    best = np.argsort(priority, axis=1, kind="stable")[:, :wanted]
    taken = np.zeros_like(eligible)
    np.put_along_axis(taken, best, True, axis=1)
    return taken & eligible


_Picks = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _ranked(ranking: Ranking, taken: np.ndarray, picked_by: int) -> _Picks:
    place, position = np.nonzero(taken)
    return (
        place,
        ranking.passages[place, position],
        (position + 1).astype(np.int32),
        ranking.scores[place, position],
        np.full(len(place), picked_by, dtype=np.int8),
    )


def _given(ranking: Ranking, pool: Pool, score_pairs: ScorePairs) -> _Picks:
    """The user's own negatives of these queries, with their rank where the search met them."""
    chosen = np.isin(pool.given.queries, ranking.queries)
    queries, passages = pool.given.queries[chosen], pool.given.numbers[chosen]
    by_query = np.argsort(ranking.queries, kind="stable")
    place = by_query[np.searchsorted(ranking.queries[by_query], queries)]
    met = ranking.passages[place] == passages[:, None]
    rank = np.where(met.any(axis=1), met.argmax(axis=1) + 1, UNRANKED).astype(np.int32)
    return place, passages, rank, score_pairs(queries, passages), np.full(len(place), GIVEN, dtype=np.int8)
