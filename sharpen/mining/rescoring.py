"""The cross-encoder's scores of a pool's pairs, a block of queries at a time, kept so that a killed run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sharpen.data.dedup import exact_keys, unique_texts
from sharpen.mining.corpus import MiningCorpus
from sharpen.mining.rules import Ranking, ScorePairs
from sharpen.mining.score_cache import ScoreCache
from sharpen.mining.settings import MiningSettings
from sharpen.settings import EncoderSettings

if TYPE_CHECKING:
    from sharpen.mining.cross_encoder import CrossEncoder

# Queries whose pairs are scored, chosen from and kept together.
QUERIES_AT_ONCE = 128


class Rescorer:
    """Scores pairs of the pool, each pair of texts once.

    A second run, whether the first was killed, has other mining settings or more data, scores only what is new.

    Args:
        cross_encoder: the model.
        pool: queries and passages.
        cache: where its scores are kept.

    Attributes:
        positives: float32, the score of each pair of ``pool.positives`` in the blocks so far.
        scored: how many pairs the model scored; those from the cache are not among them.
    """

    def __init__(self, cross_encoder: CrossEncoder, pool: MiningCorpus, cache: ScoreCache) -> None:
        self.cross_encoder, self.pool, self.cache = cross_encoder, pool, cache
        self.positives = np.full(len(pool.positives), np.nan, dtype=np.float32)
        self.scored = 0
        self.texts = unique_texts(pool.passages)
        self.sorted = np.argsort(self.texts.keys)

    @contextmanager
    def block(self, ranking: Ranking) -> Iterator[tuple[Ranking, ScorePairs]]:
        """The ranking of a run of consecutive queries with its `rescored_anchors`, and what scores their pairs."""
        first, last = int(ranking.queries[0]), int(ranking.queries[-1]) + 1
        scores = _Scores(self, first, last)
        try:
            pairs = self.pool.positives.within(first, last)
            low = int(np.searchsorted(self.pool.positives.keys, first * self.pool.positives.width))
            found = scores(pairs.queries, pairs.numbers)
            self.positives[low : low + len(pairs)] = found
            anchors = np.full(last - first, np.inf, dtype=np.float32)
            np.minimum.at(anchors, pairs.queries - first, found)
            yield replace(ranking, rescored_anchors=anchors), scores
        except BaseException:
            # the error that broke the work off is the one to tell
            with suppress(Exception):
                scores.keep()
            raise
        scores.keep()


def make_rescorer(settings: MiningSettings, encoder: EncoderSettings, pool: MiningCorpus) -> Rescorer | None:
    """The cross-encoder of the settings for a `pool`, or None. Raises InputError as `CrossEncoder.load`."""
    if not settings.rescoring_model:
        return None
    from sharpen.mining.cross_encoder import CrossEncoder  # and with it transformers

    cross_encoder = CrossEncoder.load(settings.rescoring_model, settings.rescoring_max_len, encoder)
    return Rescorer(cross_encoder, pool, ScoreCache(cross_encoder.identity, encoder.vector_cache_gib))


@contextmanager
def rescored(rescorer: Rescorer | None, ranking: Ranking) -> Iterator[tuple[Ranking, ScorePairs | None]]:
    """`Rescorer.block`, or the ranking as it is where there is no cross-encoder."""
    if rescorer is None:
        yield ranking, None
        return
    with rescorer.block(ranking) as (anchored, scores):
        yield anchored, scores


class _Scores:
    """The scores of the queries first, ..., last - 1.

    They are held by number: that of the query's text among the block's x passages' texts + that of the passage's text.
    """

    def __init__(self, rescorer: Rescorer, first: int, last: int) -> None:
        self.rescorer, self.first = rescorer, first
        self.queries = rescorer.pool.queries[first:last]
        self.query_keys, self.query_first, self.query_of = np.unique(
            exact_keys(self.queries), return_index=True, return_inverse=True
        )
        positions, passages, scores = rescorer.cache.find(self.query_keys)
        texts, order = rescorer.texts, rescorer.sorted
        numbers = order[np.minimum(np.searchsorted(texts.keys, passages, sorter=order), len(texts) - 1)]
        held = texts.keys[numbers] == passages
        self.keys, once = np.unique(positions[held] * len(texts) + numbers[held], return_index=True)
        self.values = scores[held][once]
        self.new = np.empty(0, dtype=np.int64)

    def __call__(self, query_rows: np.ndarray, passage_rows: np.ndarray) -> np.ndarray:
        """Scores float32 (n,) of pairs of the block's queries."""
        rescorer, texts = self.rescorer, self.rescorer.texts
        wanted = self.query_of[query_rows - self.first] * len(texts) + texts.inverse[passage_rows]
        if len(new := np.setdiff1d(wanted, self.keys)):
            queries, passages = np.divmod(new, len(texts))
            scores = rescorer.cross_encoder.scores(
                [self.queries[row] for row in self.query_first[queries]],
                [rescorer.pool.passages[row] for row in texts.first_index[passages]],
            )
            rescorer.scored += len(new)
            keys, values = np.concatenate([self.keys, new]), np.concatenate([self.values, scores])
            order = np.argsort(keys)
            self.keys, self.values = keys[order], values[order]
            self.new = np.union1d(self.new, new)
        return self.values[np.searchsorted(self.keys, wanted)]

    def keep(self) -> None:
        """Write the scores that were not kept before."""
        texts = self.rescorer.texts
        queries, passages = np.divmod(self.new, len(texts))
        values = self.values[np.searchsorted(self.keys, self.new)]
        self.rescorer.cache.add(self.query_keys[queries], texts.keys[passages], values)
