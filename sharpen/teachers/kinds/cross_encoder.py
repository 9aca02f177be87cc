"""A cross-encoder as a teacher: its output, log-odds as a rule, is the score."""

from __future__ import annotations

from typing import Any

import numpy as np

from sharpen.progress import progress
from sharpen.reranking.cross_encoder import CrossEncoder
from sharpen.reranking.pair_scorer import QUERIES_AT_ONCE, PairScorer
from sharpen.reranking.score_cache import ScoreCache
from sharpen.settings import EncoderSettings
from sharpen.teachers.pairs import TeacherPairs
from sharpen.teachers.settings import TeacherSettings


class CrossEncoderTeacher:
    """A `Teacher`; scores are kept in the cache block by block of queries, as mining's are.

    Args:
        settings: which one, and its longest pair.
        encoder: precision, batches and the size of the cache.

    Raises:
        InputError: as `CrossEncoder.load`.
    """

    name = "cross_encoder"

    def __init__(self, settings: TeacherSettings, encoder: EncoderSettings) -> None:
        assert settings.cross_encoder
        self.address, self.scored = settings.cross_encoder, 0
        self.model = CrossEncoder.load(self.address, settings.cross_encoder_max_len, encoder, "teachers.cross_encoder")
        self.cache = ScoreCache(self.model.identity, encoder.vector_cache_gib)

    def score(self, pairs: TeacherPairs) -> np.ndarray:
        """See `Teacher`."""
        scorer = PairScorer(self.model, pairs.queries, pairs.passages, self.cache)
        scores = np.empty(len(pairs))
        with progress("scoring by the cross-encoder", len(pairs), "pairs") as reporter:
            for first in range(0, len(pairs.queries), QUERIES_AT_ONCE):
                last = min(first + QUERIES_AT_ONCE, len(pairs.queries))
                part = slice(*np.searchsorted(pairs.query, [first, last]).tolist())
                with scorer.block(first, last) as score:
                    scores[part] = score(pairs.query[part], pairs.passage[part])
                reporter.advance(part.stop - part.start)
        self.scored = scorer.scored
        return scores

    def facts(self) -> dict[str, Any]:
        """See `Teacher`."""
        return {"model": self.address, "hash": self.model.identity, "pairs_scored": self.scored}
