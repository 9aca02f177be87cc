"""A cross-encoder on top of a ranking: its first hits in the cross-encoder's order, the others below them as before."""

from __future__ import annotations

import logging

import numpy as np

from sharpen.evaluation.retrieval import Rankings
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.evaluation.split import EvaluationSplit
from sharpen.progress import progress
from sharpen.reranking.cross_encoder import CrossEncoder
from sharpen.reranking.pair_scorer import QUERIES_AT_ONCE, PairScorer
from sharpen.reranking.score_cache import ScoreCache
from sharpen.settings import EncoderSettings

logger = logging.getLogger(__name__)

SETTING = "evaluation.reranking_model"


class Reranker:
    """The cross-encoder of the `settings` for the texts of `eval_set`; `encoder` says how it computes.

    Attributes:
        address: of the cross-encoder.
        identity: hash of what its scores depend on.
        depth: hits of a query that it reranks.

    Raises:
        InputError: as `CrossEncoder.load`.
    """

    def __init__(self, eval_set: EvaluationSplit, settings: EvaluationSettings, encoder: EncoderSettings) -> None:
        assert settings.reranking_model is not None
        self.eval_set, self.depth, self.address = eval_set, settings.reranking_depth, settings.reranking_model
        model = CrossEncoder.load(settings.reranking_model, settings.reranking_max_len, encoder, SETTING)
        self.identity = model.identity
        cache = ScoreCache(model.identity, encoder.vector_cache_gib)
        self.scorer = PairScorer(model, eval_set.query_texts, eval_set.passage_texts, cache)
        self.rows = {passage_id: row for row, passage_id in enumerate(eval_set.passage_ids)}

    def rerank(self, rankings: Rankings) -> dict[str, list[tuple[str, float]]]:
        """The rankings with their first `depth` hits by the cross-encoder's score, ties by id, descending."""
        query_ids, found = self.eval_set.query_ids, {}
        with progress("Reranking", len(query_ids), "queries") as reporter:
            for first in range(0, len(query_ids), QUERIES_AT_ONCE):
                last = min(first + QUERIES_AT_ONCE, len(query_ids))
                heads = [rankings[query_id][: self.depth] for query_id in query_ids[first:last]]
                query_rows = np.repeat(np.arange(first, last), [len(head) for head in heads])
                passage_rows = np.array([self.rows[p] for head in heads for p, _ in head], dtype=np.int64)
                with self.scorer.block(first, last) as scores:
                    values = scores(query_rows, passage_rows)
                for row, head in enumerate(heads, start=first):
                    of_query = values[query_rows == row].tolist()
                    scored = [(p, value) for (p, _), value in zip(head, of_query, strict=True)]
                    found[query_ids[row]] = _joined(scored, rankings[query_ids[row]][self.depth :])
                reporter.advance(last - first)
        return found


def _joined(scored: list[tuple[str, float]], rest: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The scored hits in their order, then the others, each scored one below the hit before it."""
    ordered = sorted(scored, key=lambda hit: (hit[1], hit[0]), reverse=True)
    lowest = ordered[-1][1] if ordered else 0.0
    return ordered + [(passage_id, lowest - number) for number, (passage_id, _) in enumerate(rest, start=1)]
