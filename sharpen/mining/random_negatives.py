"""Negatives that are drawn from the whole corpus and chosen by the same rules as the ranked ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sharpen.mining import rng
from sharpen.mining.corpus import MiningCorpus
from sharpen.mining.pairs import PairSet
from sharpen.mining.rng import RngStream
from sharpen.mining.rules import FIT, Ranking, ScorePairs, judge, select_passing, text_numbers
from sharpen.mining.settings import MiningSettings

# Draws for a query that lacks r negatives: first 4 r + 16, then this many.
_LAST_SAMPLES = 4096
_SAMPLES_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Drawn:
    """Drawn negatives, by query in the order of the draws.

    Attributes:
        row: row of the query in the ranking.
        passage, score: row of the passage and its score.
        taken: how many each query of the ranking got.
    """

    row: np.ndarray
    passage: np.ndarray
    score: np.ndarray
    taken: np.ndarray


def draw(
    ranking: Ranking,
    pool: MiningCorpus,
    settings: MiningSettings,
    score_pairs: ScorePairs,
    barred: np.ndarray,
    wanted: np.ndarray,
    rescore: ScorePairs | None = None,
) -> Drawn:
    """Draw negatives from the corpus without replacement.

    A corpus of up to 4,096 passages is gone through to the last one before a query is left short; not so with a
    cross-encoder, which would have to score each of them.

    Args:
        ranking: the queries, and what the search found for them.
        pool, settings: for the rules.
        score_pairs: scores the drawn passages.
        barred: (n, width) positions of the ranking whose texts must not be drawn.
        wanted: (n,) negatives to draw for each query.
        rescore: as for `choose`.
    """
    taken = np.zeros(len(wanted), dtype=np.int64)
    rows, columns = np.nonzero(barred & (ranking.passages >= 0))
    unwanted = PairSet.of(rows, pool.text_of[ranking.passages[rows, columns]], pool.text_count)
    query_rows, passages, scores = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for purpose in (RngStream.CORPUS, RngStream.CORPUS_AGAIN)[: 1 if rescore else 2]:
        short = np.flatnonzero(taken < wanted)
        missing = (wanted - taken)[short]
        sizes = 4 * missing + 16 if purpose is RngStream.CORPUS else np.full(len(short), _LAST_SAMPLES)
        for part in np.array_split(np.arange(len(short)), 1 + int(sizes.sum()) // _SAMPLES_AT_ONCE):
            lacking = short[part]
            drawn = _scored_samples(ranking, lacking, sizes[part], pool, settings, score_pairs, purpose)
            texts = text_numbers(pool, drawn.passages)
            fit = judge(drawn, pool, settings, margins=rescore is None) == FIT
            eligible = fit & ~unwanted.has(lacking[:, None], texts)
            row, column = np.nonzero(select_passing(drawn, eligible, missing[part], settings, rescore)[0])
            query_rows.append(lacking[row])
            passages.append(drawn.passages[row, column])
            scores.append(drawn.scores[row, column])
            taken += np.bincount(lacking[row], minlength=len(taken))
            unwanted = unwanted.union(PairSet.of(lacking[row], texts[row, column], pool.text_count))
    return Drawn(np.concatenate(query_rows), np.concatenate(passages), np.concatenate(scores), taken)


def _scored_samples(
    ranking: Ranking,
    rows: np.ndarray,
    sizes: np.ndarray,
    pool: MiningCorpus,
    settings: MiningSettings,
    score_pairs: ScorePairs,
    purpose: RngStream,
) -> Ranking:
    """Drawn passages with their scores, for some rows of a ranking."""
    block = ranking.rows(rows)
    ids = [pool.query_ids[query] for query in block.queries]
    passages = rng.passages(settings.seed, ids, len(pool.passage_ids), sizes, purpose)
    scores = np.full(passages.shape, -np.inf, dtype=np.float32)
    real = passages >= 0
    scores[real] = score_pairs(np.broadcast_to(block.queries[:, None], passages.shape)[real], passages[real])
    return block.unranked(passages, scores)
