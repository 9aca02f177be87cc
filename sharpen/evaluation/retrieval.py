"""Queries and a corpus -> rankings: embed, search exactly, leave out what is not ranked; and their metrics."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sharpen.embeddings import LazyEncoder, PassageRows, embed_passages, embed_texts, not_finite
from sharpen.errors import StepFailed
from sharpen.evaluation.settings import EvaluationSettings, metric_names
from sharpen.evaluation.split import EvaluationSplit
from sharpen.index.distinct import top_passages
from sharpen.index.exact_device import gpu_of
from sharpen.index.quantization import as_stored
from sharpen.index.sizes import Variant
from sharpen.metrics import measure

Rankings = Mapping[str, list[tuple[str, float]]]
"""Query id -> (passage id, score), best first."""

SHOWN_DEPTH = 100
"""Every query keeps at least this many hits, so that runs can be scored again at other cutoffs."""


@dataclass(frozen=True)
class Embedded:
    """Embeddings of an `EvaluationSplit`, in its order: queries (n, d) and passages (m, d).

    Attributes:
        queries, passages: the vectors.
        rows: which passage each vector of `passages` is of; None: each passage has one.
    """

    queries: np.ndarray
    passages: np.ndarray
    rows: PassageRows | None = None


def ranked_depth(settings: EvaluationSettings) -> int:
    """How many hits a query keeps."""
    return max(*settings.cutoffs, SHOWN_DEPTH)


def searched_depth(eval_set: EvaluationSplit, settings: EvaluationSettings) -> int:
    """How many hits must be found so that `ranked_depth` are left when the query's own passages are taken out."""
    more = max(map(len, eval_set.left_out.values()), default=0) + settings.ignore_identical_ids
    return ranked_depth(settings) + more


def embed(encoder: LazyEncoder, eval_set: EvaluationSplit, instructions: Sequence[str] | None) -> Embedded:
    """The embeddings of `eval_set`.

    Args:
        encoder: the model.
        eval_set: queries and corpus.
        instructions: one a query, or None for all.

    Raises:
        StepFailed: an embedding is not finite.
    """
    queries = checked_finite(
        embed_texts(encoder, eval_set.query_texts, "query", instructions), "query", eval_set.query_ids
    )
    passages = embed_passages(encoder, eval_set.passage_texts, eval_set.passage_titles)
    ids = eval_set.passage_ids if passages.rows is None else passages.rows.named(eval_set.passage_ids)
    return Embedded(queries, checked_finite(passages.vectors, "passage", ids), passages.rows)


def at_size(embedded: Embedded, size: Variant, eval_set: EvaluationSplit, *, normalize: bool) -> Embedded:
    """The `embedded` texts of `eval_set` as an index of a `size` compares them; `normalize` and errors: `as_stored`."""
    ids = eval_set.passage_ids if embedded.rows is None else embedded.rows.named(eval_set.passage_ids)
    queries, passages = as_stored(embedded.queries, embedded.passages, size, ids, normalize=normalize)
    return replace(embedded, queries=queries, passages=passages)


def rank(
    embedded: Embedded, eval_set: EvaluationSplit, settings: EvaluationSettings, device: str | None = None
) -> dict[str, list[tuple[str, float]]]:
    """Query id -> (passage id, score) best first, `ranked_depth` of them where there are so many.

    Args:
        embedded: of `eval_set`, or any other vectors in its order.
        eval_set: queries and corpus.
        settings: cutoffs, and whether a query finds itself.
        device: the GPU that searches; None: the CPU.
    """
    depth = searched_depth(eval_set, settings)
    scores, indices = top_passages(embedded.queries, embedded.passages, embedded.rows, depth, device=device)
    return rankings_of(zip(indices, scores, strict=True), eval_set, settings)


def rankings_of(
    found: Iterable[tuple[np.ndarray, np.ndarray]], eval_set: EvaluationSplit, settings: EvaluationSettings
) -> dict[str, list[tuple[str, float]]]:
    """The rankings made of rows and scores.

    Args:
        found: for each query of `eval_set` rows of its passages, best first, -1 for none, and their scores.
        eval_set: queries, corpus, and what is not ranked for whom.
        settings: cutoffs, and whether a query finds itself.
    """
    depth, rankings = ranked_depth(settings), {}
    for query_id, (rows, scores) in zip(eval_set.query_ids, found, strict=True):
        hits = [
            (eval_set.passage_ids[row], score)
            for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
            if row >= 0
        ]
        out = eval_set.left_out.get(query_id, frozenset()) | ({query_id} if settings.ignore_identical_ids else set())
        rankings[query_id] = [hit for hit in hits if hit[0] not in out][:depth]
    return rankings


def search(
    encoder: LazyEncoder, eval_set: EvaluationSplit, settings: EvaluationSettings, instructions: Sequence[str] | None
) -> tuple[dict[str, list[tuple[str, float]]], Embedded, dict[str, float]]:
    """Search the corpus with every query, each with its instruction if it has one.

    Args:
        encoder: the model.
        eval_set: queries and corpus.
        settings: cutoffs, and whether a query finds itself.
        instructions: one a query, or None for all.

    Returns:
        what `rank` gives, the embeddings, and seconds by phase.

    Raises:
        StepFailed: an embedding is not finite.
    """
    started = time.monotonic()
    embedded = embed(encoder, eval_set, instructions)
    encoded = time.monotonic()
    rankings = rank(embedded, eval_set, settings, gpu_of(encoder.device))
    searched = time.monotonic()
    seconds = {"encode_seconds": round(encoded - started, 3), "search_seconds": round(searched - encoded, 3)}
    return rankings, embedded, seconds


def score(eval_set: EvaluationSplit, rankings: Rankings, settings: EvaluationSettings) -> dict[str, np.ndarray]:
    """Metric of the `settings` -> (n queries,), in the order of `eval_set`, of the `rankings` that `search` gives."""
    found = {query_id: [passage_id for passage_id, _ in hits] for query_id, hits in rankings.items()}
    names = metric_names(settings.cutoffs)
    return measure(eval_set.qrels, found, eval_set.query_ids, names, relevance_level=settings.relevance_level)


def checked_finite(embeddings: np.ndarray, kind: str, ids: Sequence[str]) -> np.ndarray:
    """The `embeddings` (n, d) themselves. Raises StepFailed, which names a `kind` of text of `ids`, if one is none."""
    faulty = not_finite(embeddings)
    if len(faulty):
        raise StepFailed(
            f"the model's embedding of {kind} {ids[faulty[0]][:60]} is not a number ({len(faulty)} of {len(ids)} "
            "such); its weights are damaged or its training diverged: try precision=fp32, then another checkpoint"
        )
    return embeddings
