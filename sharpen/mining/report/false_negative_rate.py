"""How often would a passage that is relevant, but not known to be, be picked as a negative?

No judge is needed where queries have several positives: one of them is hidden, the choice is made as if nobody knew it,
and it is counted how often it comes out as a negative.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sharpen.mining import rng
from sharpen.mining.corpus import MiningCorpus
from sharpen.mining.pairs import PairSet
from sharpen.mining.rank_range import RankRange, rank_range
from sharpen.mining.rng import RngStream
from sharpen.mining.rules import FIT, RULES, Ranking, ScorePairs, text_numbers
from sharpen.mining.selection import choose
from sharpen.mining.settings import MiningSettings

NO_FILTERS = {"relative_margin": None, "absolute_margin": None, "max_score": None, "min_score": None}
NO_FILTERS |= {"rescoring_max_score": None}


def without_filters(
    settings: MiningSettings, scope: RankRange, passages: int
) -> dict[str, tuple[MiningSettings, RankRange]]:
    """`settings` and `scope` to compare with, in a corpus of `passages`: without score rules; of the highest ranks."""
    plain = settings.model_copy(update=NO_FILTERS)
    top = plain.model_copy(
        update={
            "range_for_sampling": f"0-{settings.negative_number}",
            "sampling": "top",
            "random_share": 0.0,
            "top_up": "off",
        }
    )
    return {"without_filters": (plain, scope), "top_without_filters": (top, rank_range(top, passages))}


@dataclass
class FalseNegativeRate:
    """Counts over the queries with several positives.

    Attributes:
        queries: how many positives were hidden, one a query.
        picked: choice -> how many of them it picked: ``as_set``; ``without_filters``, in the same range; and
            ``top_without_filters``, the highest ranks of all.
        outcome: where the hidden positives went under the settings as they are.
    """

    queries: int = 0
    picked: Counter[str] = field(default_factory=Counter)
    outcome: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        ranking: Ranking,
        pool: MiningCorpus,
        positive_scores: tuple[np.ndarray, np.ndarray | None],
        settings: MiningSettings,
        scope: RankRange,
        score_pairs: ScorePairs,
        rescore: ScorePairs | None,
    ) -> None:
        """Hide one positive of each ranked query that has several, and choose.

        Args:
            ranking: a run of consecutive queries of the pool.
            pool: the pool with all positives known.
            positive_scores: score of each pair of ``pool.positives`` by the mining model, and by the cross-encoder.
            settings, scope, score_pairs, rescore: as for the choice itself.
        """
        withheld = hide_one(ranking, pool, positive_scores, settings.seed)
        if withheld is None:
            return
        rest, blind, texts = withheld
        self.queries += len(texts)
        ways = {"as_set": (settings, scope), **without_filters(settings, scope, len(pool.passage_ids))}
        for way, (rules, ranks) in ways.items():
            choice = choose(rest, blind, rules, ranks, score_pairs, rescore if way == "as_set" else None)
            found = PairSet.of(choice.row, pool.text_of[choice.passage], pool.text_count)
            picked = found.has(np.arange(len(texts)), texts)
            self.picked[way] += int(picked.sum())
            if way == "as_set":
                self.outcome.update(_outcomes(rest, pool, texts, picked, choice.verdicts, scope))

    def report(self) -> dict[str, Any] | None:
        """Counts and rates; None where no query has several positives."""
        if not self.queries:
            return None
        return {
            "queries": self.queries,
            "rate_as_set": self.picked["as_set"] / self.queries,
            "rate_without_filters": self.picked["without_filters"] / self.queries,
            "rate_top_without_filters": self.picked["top_without_filters"] / self.queries,
            "outcome": dict(self.outcome.most_common()),
        }


def hide_one(
    ranking: Ranking, pool: MiningCorpus, positive_scores: tuple[np.ndarray, np.ndarray | None], seed: int
) -> tuple[Ranking, MiningCorpus, np.ndarray] | None:
    """Hide one positive text of each ranked query that has at least two.

    Args:
        ranking: candidates of the queries.
        pool: what is mined.
        positive_scores: of each known positive, by the miner and by a cross-encoder if there is one.
        seed: decides which one is hidden.

    Returns:
        The ranking of those queries, anchored at the positives that are left; the pool that does not know the hidden
        ones and has no given negatives; the hidden texts' numbers. None if no query has two.
    """
    first, last = int(ranking.queries[0]), int(ranking.queries[-1]) + 1
    low, high = np.searchsorted(pool.positives.keys, [first * pool.positives.width, last * pool.positives.width])
    owners = pool.positives.queries[low:high]
    texts = pool.text_of[pool.positives.numbers[low:high]]
    distinct = PairSet.of(owners, texts, pool.text_count)
    several = np.flatnonzero(np.bincount(distinct.queries - first, minlength=last - first) > 1) + first
    if not len(several):
        return None
    withheld = np.full(last - first, -1, dtype=np.int64)
    for query in several.tolist():
        several_texts = distinct.within(query, query + 1).numbers
        withheld[query - first] = rng.generator(seed, pool.query_ids[query], RngStream.HIDE).choice(several_texts)

    left = (texts != withheld[owners - first]) & (withheld[owners - first] >= 0)

    def anchors(scores: np.ndarray) -> np.ndarray:
        lowest = np.full(last - first, np.inf, dtype=np.float32)
        np.minimum.at(lowest, owners[left] - first, scores[low:high][left])
        return lowest[several - first]

    known = pool.known_passages.within(first, last)
    unknown = pool.text_of[known.numbers] == withheld[known.queries - first]
    nothing = PairSet.of([], [], 1)
    blind = replace(
        pool,
        known_passages=PairSet(known.keys[~unknown], known.width),
        known_texts=pool.known_texts.without(PairSet.of(several, withheld[several - first], pool.text_count)),
        given=nothing,
        given_texts=nothing,
    )
    chosen = several - first
    mined, rescored = positive_scores
    rest = replace(
        ranking.rows(chosen),
        anchors=anchors(mined),
        rescored_anchors=None if rescored is None else anchors(rescored),
    )
    return rest, blind, withheld[chosen]


def _outcomes(
    ranking: Ranking, pool: MiningCorpus, texts: np.ndarray, picked: np.ndarray, verdicts: np.ndarray, scope: RankRange
) -> list[str]:
    """In a word for each hidden positive: picked, or why not."""
    met = text_numbers(pool, ranking.passages) == texts[:, None]
    found = []
    for row, column in enumerate(met.argmax(axis=1).tolist()):
        verdict, rank = verdicts[row, column], ranking.ranks[row, column]
        if picked[row]:
            found.append("picked")
        elif not met[row, column]:
            found.append("below_the_searched_ranks")
        elif rank <= scope.start:
            found.append("above_the_range")
        elif verdict != FIT:
            found.append(RULES[verdict - 1])
        else:
            found.append("not_drawn" if rank <= scope.end else "below_the_range")
    return found
