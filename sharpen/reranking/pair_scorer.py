"""A cross-encoder's scores of pairs, each pair of texts once, kept in the cache block by block of queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from sharpen.data.dedup import exact_keys, unique_texts
from sharpen.reranking.score_cache import ScoreCache

if TYPE_CHECKING:
    from sharpen.reranking.cross_encoder import CrossEncoder

# Queries whose pairs are scored and stored together.
QUERIES_AT_ONCE = 128


class PairScorer:
    """Scores pairs of some queries and passages, by their rows.

    A second run, whether the first was killed, has other settings or more data, scores only what is new.

    Args:
        cross_encoder: the model.
        queries, passages: texts.
        cache: where its scores are stored.

    Attributes:
        scored: how many pairs the model scored; those from the cache are not among them.
    """

    def __init__(
        self, cross_encoder: CrossEncoder, queries: Sequence[str], passages: Sequence[str], cache: ScoreCache
    ) -> None:
        self.cross_encoder, self.queries, self.passages, self.cache = cross_encoder, queries, passages, cache
        self.scored = 0
        self.texts = unique_texts(passages)
        self.sorted = np.argsort(self.texts.keys)

    @contextmanager
    def block(self, first: int, last: int) -> Iterator[BlockScores]:
        """What scores pairs of the queries first, ..., last - 1; new scores are stored when the block ends."""
        scores = BlockScores(self, first, last)
        try:
            yield scores
        except BaseException:
            # the error that broke the work off is the one to show
            with suppress(Exception):
                scores.store()
            raise
        scores.store()


class BlockScores:
    """The scores of the queries `first`, ..., `last` - 1 of a `scorer`.

    They are held by number: that of the query's text among the block's x passages' texts + that of the passage's text.
    """

    def __init__(self, scorer: PairScorer, first: int, last: int) -> None:
        self.scorer, self.first = scorer, first
        self.queries = scorer.queries[first:last]
        self.query_keys, self.query_first, self.query_of = np.unique(
            exact_keys(self.queries), return_index=True, return_inverse=True
        )
        positions, passages, scores = scorer.cache.find(self.query_keys)
        texts, order = scorer.texts, scorer.sorted
        numbers = order[np.minimum(np.searchsorted(texts.keys, passages, sorter=order), len(texts) - 1)]
        held = texts.keys[numbers] == passages
        self.keys, once = np.unique(positions[held] * len(texts) + numbers[held], return_index=True)
        self.values = scores[held][once]
        self.new = np.empty(0, dtype=np.int64)

    def __call__(self, query_rows: np.ndarray, passage_rows: np.ndarray) -> np.ndarray:
        """Scores float32 (n,) of pairs of the block's queries, (n,) rows each."""
        scorer, texts = self.scorer, self.scorer.texts
        wanted = self.query_of[query_rows - self.first] * len(texts) + texts.inverse[passage_rows]
        if len(new := np.setdiff1d(wanted, self.keys)):
            queries, passages = np.divmod(new, len(texts))
            scores = scorer.cross_encoder.scores(
                [self.queries[int(row)] for row in self.query_first[queries]],
                [scorer.passages[int(row)] for row in texts.first_index[passages]],
            )
            scorer.scored += len(new)
            keys, values = np.concatenate([self.keys, new]), np.concatenate([self.values, scores])
            order = np.argsort(keys)
            self.keys, self.values = keys[order], values[order]
            self.new = np.union1d(self.new, new)
        return self.values[np.searchsorted(self.keys, wanted)]

    def store(self) -> None:
        """Write the scores that were not in the cache before."""
        texts = self.scorer.texts
        queries, passages = np.divmod(self.new, len(texts))
        values = self.values[np.searchsorted(self.keys, self.new)]
        self.scorer.cache.add(self.query_keys[queries], texts.keys[passages], values)
