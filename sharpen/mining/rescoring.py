"""The cross-encoder's scores of a pool's pairs, a block of queries at a time, kept so that a killed run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sharpen.mining.corpus import MiningCorpus
from sharpen.mining.rules import Ranking, ScorePairs
from sharpen.mining.settings import MiningSettings
from sharpen.reranking.pair_scorer import PairScorer
from sharpen.reranking.score_cache import ScoreCache
from sharpen.settings import EncoderSettings

if TYPE_CHECKING:
    from sharpen.reranking.cross_encoder import CrossEncoder


class Rescorer:
    """A `PairScorer` of the pool, which remembers the positives.

    Args:
        cross_encoder: the model.
        pool: queries and passages.
        cache: where its scores are kept.

    Attributes:
        positives: float32, the score of each pair of ``pool.positives`` in the blocks so far.
    """

    def __init__(self, cross_encoder: CrossEncoder, pool: MiningCorpus, cache: ScoreCache) -> None:
        self.cross_encoder, self.pool = cross_encoder, pool
        self.positives = np.full(len(pool.positives), np.nan, dtype=np.float32)
        self.scorer = PairScorer(cross_encoder, pool.queries, pool.passages, cache)

    @property
    def scored(self) -> int:
        """How many pairs the model scored; those from the cache are not among them."""
        return self.scorer.scored

    @contextmanager
    def block(self, ranking: Ranking) -> Iterator[tuple[Ranking, ScorePairs]]:
        """The ranking of a run of consecutive queries with its `rescored_anchors`, and what scores their pairs."""
        first, last = int(ranking.queries[0]), int(ranking.queries[-1]) + 1
        with self.scorer.block(first, last) as scores:
            pairs = self.pool.positives.within(first, last)
            low = int(np.searchsorted(self.pool.positives.keys, first * self.pool.positives.width))
            found = scores(pairs.queries, pairs.numbers)
            self.positives[low : low + len(pairs)] = found
            anchors = np.full(last - first, np.inf, dtype=np.float32)
            np.minimum.at(anchors, pairs.queries - first, found)
            yield replace(ranking, rescored_anchors=anchors), scores


def make_rescorer(settings: MiningSettings, encoder: EncoderSettings, pool: MiningCorpus) -> Rescorer | None:
    """The cross-encoder of the settings for a `pool`, or None. Raises InputError as `CrossEncoder.load`."""
    if not settings.rescoring_model:
        return None
    from sharpen.reranking.cross_encoder import CrossEncoder  # and with it transformers

    cross_encoder = CrossEncoder.load(
        settings.rescoring_model, settings.rescoring_max_len, encoder, "mining.rescoring_model"
    )
    return Rescorer(cross_encoder, pool, ScoreCache(cross_encoder.identity, encoder.vector_cache_gib))


@contextmanager
def rescored(rescorer: Rescorer | None, ranking: Ranking) -> Iterator[tuple[Ranking, ScorePairs | None]]:
    """`Rescorer.block`, or the ranking as it is where there is no cross-encoder."""
    if rescorer is None:
        yield ranking, None
        return
    with rescorer.block(ranking) as (anchored, scores):
        yield anchored, scores
