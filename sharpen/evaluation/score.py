"""Score any TREC run against TREC judgements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from sharpen.data.trec import read_qrels, read_run
from sharpen.errors import InputError
from sharpen.evaluation.settings import ScoreAddresses, ScoreSettings, metric_names
from sharpen.metrics import TIE_RULE, means, measure, ranked_run
from sharpen.store import storage


def score(addresses: ScoreAddresses, settings: ScoreSettings) -> dict[str, Any]:
    """Metrics of a run, written to `addresses.output` if that is set.

    Returns:
        ``{"metrics": {name: mean}, "per_query": {query: {name: value}}, "facts": {counts and protocol}}``. Besides
        the metrics at the cutoffs there are ``map`` and ``mrr`` over the whole run.

    Raises:
        InputError: a file is missing or has faulty lines, or run and judgements share no query.
    """
    qrels, run = read_qrels(Path(addresses.qrels)), read_run(Path(addresses.run))
    both = sorted(set(qrels) & set(run))
    if not both:
        raise InputError(f"{addresses.run}: no query of it is judged in {addresses.qrels}; do the ids agree?")
    query_ids = both if settings.missing_queries == "skip" else sorted(qrels)
    precision = np.float32 if settings.score_precision == "float32" else np.float64
    values = measure(
        qrels,
        ranked_run(run, precision),
        query_ids,
        [*metric_names(settings.cutoffs), "map", "mrr"],
        relevance_level=settings.relevance_level,
    )
    level = settings.relevance_level
    result = {
        "metrics": means(values),
        "per_query": {
            query_id: {name: float(column[row]) for name, column in values.items()}
            for row, query_id in enumerate(query_ids)
        },
        "facts": {
            "queries": len(query_ids),
            "judged_queries_missing_in_run": len(qrels) - len(both),
            "run_queries_without_judgement": len(run) - len(both),
            "retrieved": sum(len(run.get(q, {})) for q in query_ids),
            "relevant": sum(grade >= level for q in query_ids for grade in qrels[q].values()),
            "relevant_retrieved": sum(qrels[q].get(p, 0) >= level for q in both for p in run[q]),
            "tie_rule": TIE_RULE,
            **settings.model_dump(mode="json"),
        },
    }
    if addresses.output:
        storage.write_bytes(addresses.output, (json.dumps(result, indent=2, ensure_ascii=False) + "\n").encode())
    return result
