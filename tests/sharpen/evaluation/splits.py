"""Small splits whose rankings are written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from sharpen.evaluation.artifact import EvaluationArtifact
from sharpen.evaluation.split import EvaluationSplit


def a_split(queries: Mapping[str, str], passages: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]):
    """Queries and passages by id; passages by id descending, as `select_split` gives them."""
    ids = sorted(passages, reverse=True)
    return EvaluationSplit(
        query_ids=list(queries),
        query_texts=list(queries.values()),
        query_keys=list(range(len(queries))),
        instructions=[""] * len(queries),
        groups=list(queries),
        sources=["one"] * len(queries),
        passage_ids=ids,
        passage_texts=[passages[passage_id] for passage_id in ids],
        qrels=qrels,
        facts={},
    )


def an_evaluation(
    query_ids: Sequence[str], values: Mapping[str, np.ndarray], groups: Sequence[str] | None = None
) -> EvaluationArtifact:
    """One with these values of each metric and query."""
    table = pl.DataFrame({"query_id": list(query_ids), "group": list(groups or query_ids), **values}).sort("query_id")
    return EvaluationArtifact("address", {}, {}, table, Path("none"))
