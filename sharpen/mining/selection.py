"""The choice of negatives among ranked passages.

First the range is sampled, then what is missing is topped up from further ranks and from the whole corpus, and the
user's own negatives are added. A passage that a rule filters out (rules.py) is emitted by none of these.
Given negatives meet the first two rules only: the margins are for what nobody has looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sharpen.mining import rng
from sharpen.mining.corpus import MiningCorpus
from sharpen.mining.random_negatives import draw
from sharpen.mining.rank_range import RankRange
from sharpen.mining.rules import FIT, NOT_RANKED, Ranking, ScorePairs, judge, select_passing
from sharpen.mining.settings import MiningSettings

PICKED_BY = ("search", "further_rank", "random", "given")
SEARCH, FURTHER_RANK, RANDOM, GIVEN = range(4)


@dataclass(frozen=True)
class Choice:
    """The chosen negatives of a `Ranking`, by query, then in the order of `PICKED_BY`, then by rank or draw.

    Attributes:
        row: row of the query in the ranking.
        passage: row of the passage.
        rank: its best rank in any source, counted from 1; `NOT_RANKED` for a passage that none reached.
        source: position of the source that gave this rank; -1 for none.
        score, picked_by: its score, and its position in `PICKED_BY`.
        verdicts: (n, width) the verdict on each candidate; with a cross-encoder, `FIT` where it did not score.
        topped_up: (n, 2) negatives taken from further ranks and, beyond ``random_share``, at random.
        short: (n,) how many negatives are missing in the end.
    """

    row: np.ndarray
    passage: np.ndarray
    rank: np.ndarray
    source: np.ndarray
    score: np.ndarray
    picked_by: np.ndarray
    verdicts: np.ndarray
    topped_up: np.ndarray
    short: np.ndarray


def choose(
    ranking: Ranking,
    pool: MiningCorpus,
    settings: MiningSettings,
    scope: RankRange,
    score_pairs: ScorePairs,
    rescore: ScorePairs | None = None,
) -> Choice:
    """Choose the negatives of the ranked queries.

    Args:
        ranking: the candidates.
        pool: known positives, texts and given negatives.
        settings: number, sampling, rules and seed.
        scope: the ranks to take from, clipped to the corpus.
        score_pairs: scores the passages that are drawn at random and the given ones.
        rescore: the cross-encoder by which the margins are judged; None: they are judged by the mining model.
    """
    verdicts = judge(ranking, pool, settings, margins=rescore is None)
    fit = verdicts == FIT
    at_random = int(settings.random_share * settings.negative_number + 0.5)

    in_range, after = ranking.between(scope.start, scope.end), ranking.between(scope.end, scope.end + scope.further)
    wanted = np.full(len(fit), settings.negative_number - at_random)
    order = _random_order(ranking, pool, settings, in_range) if settings.sampling == "random" else None
    sampled, late = select_passing(ranking, fit & in_range, wanted, settings, rescore, order=order)
    missing = wanted - sampled.sum(axis=1)
    further, later = select_passing(ranking, fit & after, missing, settings, rescore)
    missing = missing - further.sum(axis=1)
    picks = [_ranked(ranking, sampled, SEARCH), _ranked(ranking, further, FURTHER_RANK)]

    wanted = at_random + (missing if settings.top_up.endswith("random") else np.zeros_like(missing))
    barred = sampled | further | ranking.between(0, scope.start)
    drawn = draw(ranking, pool, settings, score_pairs, barred, wanted, rescore)
    nowhere = np.full(len(drawn.row), NOT_RANKED, dtype=np.int32)
    random = np.full(len(nowhere), RANDOM, dtype=np.int8)
    picks.append((drawn.row, drawn.passage, nowhere, nowhere.astype(np.int8) - 1, drawn.score, random))
    picks.append(_given(ranking, pool, score_pairs))

    columns = [np.concatenate(column) for column in zip(*picks, strict=True)]
    by_query = np.argsort(columns[0], kind="stable")
    return Choice(
        *(column[by_query] for column in columns),
        verdicts=np.where(late != FIT, late, np.where(later != FIT, later, verdicts)),
        topped_up=np.stack([further.sum(axis=1), np.maximum(0, drawn.taken - at_random)], axis=1),
        short=missing + at_random - drawn.taken,
    )


def _random_order(ranking: Ranking, pool: MiningCorpus, settings: MiningSettings, in_range: np.ndarray) -> np.ndarray:
    """The columns of each row (n, width) in a random order: taking the first is drawing without replacement."""
    ids = [pool.query_ids[row] for row in ranking.queries]
    position = np.maximum(0, np.cumsum(in_range, axis=1) - 1)
    priorities = rng.priorities(settings.seed, ids, int(position.max(initial=0)) + 1)
    return np.argsort(
        np.where(in_range, np.take_along_axis(priorities, position, axis=1), np.inf), axis=1, kind="stable"
    )


_Picks = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _ranked(ranking: Ranking, taken: np.ndarray, picked_by: int) -> _Picks:
    row, column = np.nonzero(taken)
    return (
        row,
        ranking.passages[row, column],
        ranking.ranks[row, column],
        ranking.sources[row, column],
        ranking.scores[row, column],
        np.full(len(row), picked_by, dtype=np.int8),
    )


def _given(ranking: Ranking, pool: MiningCorpus, score_pairs: ScorePairs) -> _Picks:
    """The user's own negatives of these queries, with rank and source where one met them."""
    chosen = np.isin(pool.given.queries, ranking.queries)
    queries, passages = pool.given.queries[chosen], pool.given.numbers[chosen]
    by_query = np.argsort(ranking.queries, kind="stable")
    row = by_query[np.searchsorted(ranking.queries[by_query], queries)]
    met = ranking.passages[row] == passages[:, None]
    column, ranked = met.argmax(axis=1), met.any(axis=1)
    rank = np.where(ranked, ranking.ranks[row, column], NOT_RANKED)
    source = np.where(ranked, ranking.sources[row, column], -1)
    return row, passages, rank, source, score_pairs(queries, passages), np.full(len(row), GIVEN, dtype=np.int8)
