"""The round trip: a query must find the passage that it was written for (Dai et al. 2023, arXiv 2209.11755)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sharpen.embeddings import LazyEncoder, embed_texts
from sharpen.generation.filters.candidates import Candidate, good
from sharpen.generation.settings import GenerationSettings
from sharpen.index.exact import top_k
from sharpen.index.exact_device import gpu_of
from sharpen.progress import progress
from sharpen.settings import EncoderSettings


class RoundTrip:
    """The base model's view of the passages.

    Args:
        model: address of the base model.
        passages: texts, in the order of the table.
        encoder: how they become vectors.

    Raises:
        InputError: no such model, or vectors that are not numbers.
    """

    def __init__(self, model: str, passages: Sequence[str], encoder: EncoderSettings) -> None:
        self.encoder, self.texts, self.settings = LazyEncoder.open(model, encoder), passages, encoder
        self.passages = embed_texts(self.encoder, passages, "passage")

    def neighbours(self, rows: Sequence[int], count: int) -> np.ndarray:
        """Rows (n, count) of the passages most like those in `rows` (n), themselves left out; -1 for none."""
        _, found = top_k(self.passages[list(rows)], self.passages, count + 1, device=gpu_of(self.encoder.device))
        mine = found == np.asarray(rows)[:, None]
        # where others are so much alike that a passage is not among its best, the last one goes
        mine[~mine.any(axis=1), -1] = True
        return found[~mine].reshape(len(found), count)

    def check(self, candidates: Sequence[Candidate], settings: GenerationSettings) -> dict[str, Any]:
        """Mark the queries whose passages are not found; figures of what was found.

        Args:
            candidates: of which those without a fault are looked at.
            settings: how many passages are searched, and the cross-encoder.
        """
        checked = good(candidates)
        if not checked:
            return {}
        vectors = embed_texts(self.encoder, [one.text for one in checked], "query")
        top = min(settings.round_trip_top, len(self.texts))
        _, found = top_k(vectors, self.passages, top, device=gpu_of(self.encoder.device))
        ranks = [_rank(found[number], one.rows) for number, one in enumerate(checked)]
        for one, rank in zip(checked, ranks, strict=True):
            if rank > top:
                one.fault = "not_found"
        facts: dict[str, Any] = {
            "queries": len(checked),
            "first": sum(rank == 1 for rank in ranks),
            "found": sum(rank <= top for rank in ranks),
            "top": top,
        }
        if len(checked) > 1:
            nearest, _ = top_k(vectors, vectors, 2, device=gpu_of(self.encoder.device))
            facts["mean_similarity_of_nearest_query"] = round(float(nearest[:, 1].mean()), 4)
        if settings.cross_encoder:
            passed = [number for number, rank in enumerate(ranks) if rank <= top]
            facts["confirmed"] = self._confirm([checked[n] for n in passed], found[passed], settings)
        return facts

    def _confirm(self, candidates: list[Candidate], found: np.ndarray, settings: GenerationSettings) -> int:
        """Mark the queries for which the cross-encoder puts other passages first; how many are left."""
        from sharpen.reranking.cross_encoder import CrossEncoder
        from sharpen.reranking.pair_scorer import QUERIES_AT_ONCE, PairScorer
        from sharpen.reranking.score_cache import ScoreCache

        assert settings.cross_encoder
        cross = CrossEncoder.load(
            settings.cross_encoder, settings.cross_encoder_max_len, self.settings, "generation.cross_encoder"
        )
        cache = ScoreCache(cross.identity, self.settings.vector_cache_gib)
        scorer = PairScorer(cross, [one.text for one in candidates], self.texts, cache)
        with progress("reranking", len(candidates), "queries") as reporter:
            for first in range(0, len(candidates), QUERIES_AT_ONCE):
                last = min(first + QUERIES_AT_ONCE, len(candidates))
                with scorer.block(first, last) as score:
                    rows = np.repeat(np.arange(first, last), found.shape[1])
                    scores = score(rows, found[first:last].ravel()).reshape(-1, found.shape[1])
                order = np.argsort(-scores, axis=1, kind="stable")
                ranked = np.take_along_axis(found[first:last], order, axis=1)
                for number in range(first, last):
                    if _rank(ranked[number - first], candidates[number].rows) > settings.cross_encoder_top:
                        candidates[number].fault = "not_confirmed"
                reporter.advance(last - first)
        return len(good(candidates))


def _rank(found: np.ndarray, rows: tuple[int, ...]) -> int:
    """The rank, from 1, of the last of a query's passages among those found (k,), all of them not counting each other.

    That is 1 where they are the first ones; k + 1 where one is not among them.
    """
    positions = np.flatnonzero(np.isin(found, rows))
    return int(positions[-1]) + 2 - len(rows) if len(positions) == len(rows) else len(found) + 1
