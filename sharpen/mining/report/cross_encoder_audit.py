"""How many negatives does the cross-encoder take for relevant, with and without the filters?

A negative counts as false where the cross-encoder scores it no lower than the query's lowest positive.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from sharpen.mining import rng
from sharpen.mining.corpus import MiningCorpus
from sharpen.mining.rank_range import RankRange
from sharpen.mining.report.false_negative_rate import without_filters
from sharpen.mining.report.histogram import histograms
from sharpen.mining.rng import RngStream
from sharpen.mining.rules import Ranking, ScorePairs
from sharpen.mining.selection import GIVEN, Choice, choose
from sharpen.mining.settings import MiningSettings

# Enough for a rate to within about a percentage point, and a small part of what is rescored anyway.
AUDITED_QUERIES = 1000


class CrossEncoderAudit:
    """Counts over a random sample of the queries.

    Args:
        pool: the queries.
        settings: for the seed.

    Attributes:
        queries: how many were judged.
        negatives, false: choice -> mined negatives, and how many of them are false: ``as_set``;
            ``by_the_mining_model``, as if its scores decided on the margins; and those of `without_filters`.
        scores: the cross-encoder's scores of everything that was written, block by block.
        positive_scores: its scores of all positives.
    """

    def __init__(self, pool: MiningCorpus, settings: MiningSettings) -> None:
        self.settings = settings
        generator = rng.generator(settings.seed, "", RngStream.JUDGE)
        count = len(pool.query_ids)
        self._chosen = np.zeros(count, dtype=bool)
        self._chosen[generator.choice(count, size=min(AUDITED_QUERIES, count), replace=False)] = True
        self.queries = 0
        self.negatives: Counter[str] = Counter()
        self.false: Counter[str] = Counter()
        self.scores: list[np.ndarray] = []
        self.positive_scores = np.empty(0, dtype=np.float32)

    def add(
        self, ranking: Ranking, pool: MiningCorpus, scope: RankRange, score_pairs: ScorePairs, rescore: ScorePairs
    ) -> None:
        """Choose in each way for the queries of the sample, and count.

        Args:
            ranking: with its `rescored_anchors`.
            pool, scope, score_pairs, rescore: as for `choose`.
        """
        chosen = self._chosen[ranking.queries]
        if not chosen.any():
            return
        sampled = ranking.rows(chosen)
        self.queries += len(sampled.queries)
        ways = {
            "as_set": (self.settings, scope),
            "by_the_mining_model": (self.settings, scope),
            **without_filters(self.settings, scope, len(pool.passage_ids)),
        }
        for way, (rules, ranks) in ways.items():
            choice = choose(sampled, pool, rules, ranks, score_pairs, rescore if way == "as_set" else None)
            self._count(way, sampled, choice, rescore)

    def _count(self, way: str, ranking: Ranking, choice: Choice, rescore: ScorePairs) -> None:
        assert ranking.rescored_anchors is not None
        mined = choice.picked_by != GIVEN
        rows = choice.row[mined]
        scores = rescore(ranking.queries[rows], choice.passage[mined])
        self.negatives[way] += len(scores)
        self.false[way] += int((scores >= ranking.rescored_anchors[rows]).sum())

    def report(self) -> dict[str, Any] | None:
        """Counts, rates (None where nothing was chosen) and histograms; None without a cross-encoder."""
        if not self.queries:
            return None
        rates = {f"rate_{way}": self.false[way] / count if count else None for way, count in self.negatives.items()}
        positives, negatives = histograms(self.positive_scores, np.concatenate(self.scores))
        return {
            "judged_queries": self.queries,
            "judged_negatives": dict(self.negatives),
            **rates,
            "positive_scores": positives,
            "negative_scores": negatives,
        }
