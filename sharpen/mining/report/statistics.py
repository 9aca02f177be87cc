"""The figures of a mining run, counted block by block: report.json."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from sharpen.mining import rng
from sharpen.mining.corpus import MiningCorpus
from sharpen.mining.rank_range import RANKS_SHOWN, RankRange
from sharpen.mining.report.cross_encoder_audit import CrossEncoderAudit
from sharpen.mining.report.false_negative_rate import FalseNegativeRate
from sharpen.mining.report.histogram import histograms
from sharpen.mining.rng import RngStream
from sharpen.mining.rules import NOT_RANKED, RULES, Ranking, ScorePairs
from sharpen.mining.selection import FURTHER_RANK, PICKED_BY, RANDOM, SEARCH, Choice
from sharpen.mining.settings import MiningSettings

EXAMPLES = 20
NEGATIVES_SHOWN = 3
CHARACTERS_SHOWN = 300


class MiningStats:
    """Counts what was found and chosen.

    Args:
        pool: the queries and passages.
        positive_scores: score of each pair of ``pool.positives``.
        settings, scope: what was set, and what of it the corpus allows.
    """

    def __init__(
        self, pool: MiningCorpus, positive_scores: np.ndarray, settings: MiningSettings, scope: RankRange
    ) -> None:
        self.pool, self.positive_scores, self.settings, self.scope = pool, positive_scores, settings, scope
        self.candidates = 0
        # by source: candidates it ranked in the range, those that no other source found, negatives from it
        self.by_source = np.zeros((len(settings.candidate_sources), 3), dtype=np.int64)
        self.dropped: Counter[str] = Counter(dict.fromkeys(RULES, 0))
        self.picked: Counter[str] = Counter(dict.fromkeys(PICKED_BY, 0))
        self.topped_up = np.zeros(3, dtype=np.int64)
        self.short_queries = self.missing = self.without_negatives = 0
        self.negative_scores: list[np.ndarray] = []
        self.best_ranks: list[np.ndarray] = []
        self.dropped_queries = 0
        self.false_negatives = FalseNegativeRate()
        self.audit = CrossEncoderAudit(pool, settings)
        self.examples: list[dict[str, Any]] = []
        generator = rng.generator(settings.seed, "", RngStream.EXAMPLES)
        shown = min(EXAMPLES, len(pool.query_ids))
        self._shown = set(generator.choice(len(pool.query_ids), size=shown, replace=False).tolist())

    def add(
        self,
        ranking: Ranking,
        choice: Choice,
        best_ranks: np.ndarray,
        dropped: np.ndarray,
        rescored: np.ndarray | None = None,
    ) -> None:
        """Count one block of queries.

        Args:
            ranking, choice: what was found and what was chosen, the dropped queries' negatives included.
            best_ranks: (n,) rank of each query's best positive, `NOT_RANKED` below the searched ranks.
            dropped: (n,) whether the query is dropped as inconsistent.
            rescored: the cross-encoder's score of each negative of the choice.
        """
        looked_at = ranking.between(self.scope.start, self.scope.end) & ~dropped[:, None]
        verdicts = choice.verdicts[looked_at]
        self.candidates += len(verdicts)
        for code, rule in enumerate(RULES, start=1):
            self.dropped[rule] += int((verdicts == code).sum())
        written = ~dropped[choice.row]
        ranked = written & (choice.picked_by <= FURTHER_RANK)
        for source, row in enumerate(self.by_source):
            found_by = ranking.found_by[looked_at]
            row[0] += np.count_nonzero(found_by >> source & 1)
            row[1] += np.count_nonzero(found_by == 1 << source)
            row[2] += np.count_nonzero(choice.source[ranked] == source)
        for code, name in enumerate(PICKED_BY):
            self.picked[name] += int((choice.picked_by[written] == code).sum())
        topped_up = choice.topped_up[~dropped]
        self.topped_up += [*topped_up.sum(axis=0), (topped_up.sum(axis=1) > 0).sum()]
        short = choice.short[~dropped]
        self.short_queries += int((short > 0).sum())
        self.missing += int(short.sum())
        filled = np.bincount(choice.row, minlength=len(dropped)) > 0
        self.without_negatives += int((~filled & ~dropped).sum())
        self.negative_scores.append(choice.score[written])
        if rescored is not None:
            self.audit.scores.append(rescored[written])
        self.best_ranks.append(best_ranks)
        self.dropped_queries += int(dropped.sum())
        for row, query in enumerate(ranking.queries.tolist()):
            if query in self._shown:
                self.examples.append(self._example(query, choice, row))

    def estimate(
        self,
        ranking: Ranking,
        score_pairs: ScorePairs,
        rescored_positives: np.ndarray | None,
        rescore: ScorePairs | None,
    ) -> None:
        """Estimate the false negatives of one block: by hidden positives, and by the cross-encoder if there is one.

        Args:
            ranking: candidates of the block.
            score_pairs: the miner's scores of pairs.
            rescored_positives, rescore: the same by the cross-encoder; None: there is none.
        """
        positives = (self.positive_scores, rescored_positives)
        self.false_negatives.add(ranking, self.pool, positives, self.settings, self.scope, score_pairs, rescore)
        if rescore:
            self.audit.add(ranking, self.pool, self.scope, score_pairs, rescore)

    @property
    def negatives(self) -> int:
        """How many negatives were written."""
        return sum(self.picked.values())

    def report(self) -> dict[str, Any]:
        """The figures as plain values; histograms as ``{"edges", "counts"}``."""
        pool, ranks = self.pool, np.concatenate(self.best_ranks)
        at_random = self.picked["random"] - int(self.topped_up[1])
        positives, negatives = histograms(self.positive_scores, np.concatenate(self.negative_scores))
        return {
            "queries": len(pool.query_ids),
            "passages": len(pool.passage_ids),
            "positives": len(pool.positives),
            "negatives": self.negatives,
            **pool.counts,
            "range_used": f"{self.scope.start}-{self.scope.end}",
            "searched_ranks": self.scope.reach,
            "notices": self.scope.notices,
            "candidates": self.candidates,
            "sources": [
                dict(zip(("source", "candidates", "found_by_no_other", "negatives"), (name, *row), strict=True))
                for name, row in zip(self.settings.candidate_sources, self.by_source.tolist(), strict=True)
            ],
            "dropped_by_rule": dict(self.dropped),
            "picked_by": dict(self.picked),
            "topped_up": {
                "from_further_ranks": int(self.topped_up[0]),
                "at_random": int(self.topped_up[1]),
                "queries": int(self.topped_up[2]),
            },
            "drawn_for_random_share": at_random,
            "short": {
                "queries": self.short_queries,
                "negatives_missing": self.missing,
                "queries_without_any": self.without_negatives,
            },
            "positive_scores": positives,
            "negative_scores": negatives,
            "share_of_queries_with_a_positive_in_top": {
                str(k): float(((ranks != NOT_RANKED) & (ranks <= k)).mean()) for k in RANKS_SHOWN
            },
            "consistency": self._consistency(ranks),
            "hidden_positives": self.false_negatives.report(),
            "rescoring": self.audit.report(),
            "examples": self.examples,
        }

    def _consistency(self, ranks: np.ndarray) -> dict[str, Any] | None:
        top = self.settings.consistency_top
        if not top:
            return None
        inconsistent = int(((ranks == NOT_RANKED) | (ranks > top)).sum())
        return {"top": top, "inconsistent_queries": inconsistent, "dropped_queries": self.dropped_queries}

    def _example(self, query: int, choice: Choice, chosen_row: int) -> dict[str, Any]:
        """A query, its lowest positive, and its highest-scoring mined negatives: the likeliest to be false."""
        pool = self.pool
        low, high = np.searchsorted(pool.positives.keys, np.array([query, query + 1]) * pool.positives.width)
        lowest = low + int(self.positive_scores[low:high].argmin())
        row: dict[str, Any] = {
            "query_id": pool.query_ids[query],
            "query": shortened(pool.queries[query]),
            "positive": shortened(pool.passages[pool.positives.numbers[lowest]]),
            "positive_score": round(float(self.positive_scores[lowest]), 4),
        }
        mined = np.flatnonzero((choice.row == chosen_row) & np.isin(choice.picked_by, range(SEARCH, RANDOM + 1)))
        mined = mined[np.argsort(-choice.score[mined], kind="stable")][:NEGATIVES_SHOWN]
        for number, index in enumerate(mined.tolist(), start=1):
            row[f"negative_{number}"] = shortened(pool.passages[choice.passage[index]])
            row[f"negative_{number}_score"] = round(float(choice.score[index]), 4)
            row[f"negative_{number}_rank"] = int(choice.rank[index]) or None
            source = int(choice.source[index])
            row[f"negative_{number}_source"] = None if source < 0 else self.settings.candidate_sources[source]
        return row


def shortened(text: str) -> str:
    """The text in one line of at most `CHARACTERS_SHOWN` characters."""
    line = " ".join(text.split())
    return line if len(line) <= CHARACTERS_SHOWN else line[: CHARACTERS_SHOWN - 1].rstrip() + "…"
