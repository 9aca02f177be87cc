"""What is recorded with the figures of an evaluation: how they come about, and by which software."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from sharpen.evaluation.retrieval import Rankings
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.evaluation.split import EvaluationSplit
from sharpen.metrics import TIE_RULE
from sharpen.run_context import run_id
from sharpen.version import code_version

JUDGING_DEPTH = 10
"""Ranks whose passages should be judged, so that a metric at 10 is no guess."""


def protocol_facts(
    data: str, fingerprint: str, split: str, eval_set: EvaluationSplit, settings: EvaluationSettings
) -> dict[str, Any]:
    """How the figures of `eval_set` come about, as it is recorded with them.

    Args:
        data: address of the data.
        fingerprint: of the data.
        split: whose queries are searched.
        eval_set: queries, corpus and judgements.
        settings: what is measured.
    """
    return {
        "data": data,
        "data_fingerprint": fingerprint,
        "split": split,
        "cutoffs": list(settings.cutoffs),
        "relevance_level": settings.relevance_level,
        "ignore_identical_ids": settings.ignore_identical_ids,
        "tie_rule": TIE_RULE,
        "missing_queries": "zero",
        **eval_set.facts,
    }


def unjudged(eval_set: EvaluationSplit, query_id: str, hits: Sequence[tuple[str, float]]) -> list[str]:
    """The passages in a top 10 that nobody judged.

    Args:
        eval_set: the judgements.
        query_id: of the query.
        hits: (passage id, score) that were retrieved for it, best first; the first `JUDGING_DEPTH` count.

    Returns:
        passage ids, best first.
    """
    grades = eval_set.qrels[query_id]
    return [passage_id for passage_id, _ in hits[:JUDGING_DEPTH] if passage_id not in grades]


def unjudged_facts(eval_set: EvaluationSplit, rankings: Rankings) -> dict[str, int]:
    """How many of the passages in the top 10 nobody judged, over all queries: they count as irrelevant."""
    counts = [len(unjudged(eval_set, query_id, rankings[query_id])) for query_id in eval_set.query_ids]
    return {f"unjudged_in_top_{JUDGING_DEPTH}": sum(counts), "queries_with_unjudged": sum(map(bool, counts))}


def software() -> dict[str, Any]:
    """Versions of what computes the figures, the run, and the time."""
    versions = {name: metadata.version(name) for name in ("torch", "transformers", "numpy", "polars")}
    return {
        "versions": {"python": platform.python_version(), **versions},
        "code_version": code_version(),
        "run_id": run_id(),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
