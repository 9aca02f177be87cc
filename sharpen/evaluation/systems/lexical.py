"""BM25 over an `EvaluationSplit`."""

from __future__ import annotations

from sharpen.evaluation.retrieval import rankings_of, searched_depth
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.evaluation.split import EvaluationSplit
from sharpen.index.lexical import K1, B, Bm25


def bm25_rankings(eval_set: EvaluationSplit, settings: EvaluationSettings) -> dict[str, list[tuple[str, float]]]:
    """Query id -> (passage id, score) best first; passages that share no word with the query are not ranked."""
    index = Bm25(eval_set.passage_texts, settings.bm25_language)
    return rankings_of(index.ranked(eval_set.query_texts, searched_depth(eval_set, settings)), eval_set, settings)


def bm25_facts(settings: EvaluationSettings) -> dict[str, object]:
    """What decides the scores besides the texts."""
    return {"kind": "bm25", "variant": "lucene", "language": settings.bm25_language, "k1": K1, "b": B}
