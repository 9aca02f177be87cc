"""A candidate against references on the same queries: what stands in comparison.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import polars as pl

from sharpen.errors import InputError
from sharpen.evaluation.artifact import EvaluationArtifact
from sharpen.evaluation.settings import EvaluationSettings, metric_names
from sharpen.evaluation.significance import paired
from sharpen.multiple_testing import holm


def compare(
    candidate: EvaluationArtifact, references: Mapping[str, EvaluationArtifact], settings: EvaluationSettings
) -> dict[str, Any]:
    """Compare every metric with every reference.

    Args:
        candidate: the evaluation of the model in question.
        references: name (``base``, ``champion``) -> its evaluation.
        settings: resamples, level, seed, and the headline metrics.

    Returns:
        ``{"confidence_level", "resamples", "seed", "primary_metric", "against": {name: {"reference": address,
        "model": its model, "metrics": {metric: …}}}}``. A metric holds the fields of `significance.Paired`
        and ``p_holm``: p corrected over its family, which is the headline metrics or, for any other, the rest.

    Raises:
        InputError: a reference does not hold the same queries.
    """
    return {
        "confidence_level": settings.confidence_level,
        "resamples": settings.resamples,
        "seed": settings.seed,
        "primary_metric": settings.primary_metric,
        "against": {
            name: {
                "reference": reference.address,
                "model": reference.facts.get("model", ""),
                "metrics": compare_metrics(name, candidate, reference, settings),
            }
            for name, reference in references.items()
        },
    }


def compare_metrics(
    name: str, candidate: EvaluationArtifact, reference: EvaluationArtifact, settings: EvaluationSettings
) -> dict[str, dict[str, float]]:
    """Metric -> difference of `candidate` and `reference` (`name`), interval, p and counts, by the `settings`."""
    return compare_tables(name, reference.address, candidate.per_query, reference.per_query, settings)


def compare_tables(
    name: str, address: str, candidate: pl.DataFrame, reference: pl.DataFrame, settings: EvaluationSettings
) -> dict[str, dict[str, float]]:
    """`compare_metrics` of per-query tables of `EvaluationArtifact`; arguments as there, `address` for messages."""
    if not candidate["query_id"].equals(reference["query_id"]):
        raise InputError(f"{name}: {address} was measured on other queries; evaluate it on this data set")
    names = metric_names(settings.cutoffs)
    results = paired(
        reference.select(names).to_numpy(),
        candidate.select(names).to_numpy(),
        candidate["group"].to_list(),
        resamples=settings.resamples,
        confidence_level=settings.confidence_level,
        seed=settings.seed,
    )
    found: dict[str, dict[str, float]] = {metric: asdict(result) for metric, result in zip(names, results, strict=True)}
    headline = [metric for metric in names if metric in settings.headline_metrics]
    for family in (headline, [metric for metric in names if metric not in headline]):
        for metric, p in zip(family, holm([found[metric]["p_value"] for metric in family]), strict=True):
            found[metric]["p_holm"] = p
    return found
