"""A candidate against any number of references on the same queries: what stands in comparison.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import polars as pl

from sharpen.errors import InputError
from sharpen.evaluation.artifact import EvaluationArtifact, check_comparable
from sharpen.evaluation.settings import EvaluationSettings, metric_names
from sharpen.evaluation.significance import paired
from sharpen.multiple_testing import holm


def compare(
    candidate: EvaluationArtifact, references: Mapping[str, EvaluationArtifact], settings: EvaluationSettings
) -> dict[str, Any]:
    """Compare every metric with every reference.

    Args:
        candidate: the evaluation of the model in question.
        references: name (``base``, ``champion``, ``bm25`` ...) -> its evaluation.
        settings: resamples, level, seed, and the headline metrics.

    Returns:
        ``{"confidence_level", "resamples", "seed", "primary_metric", "against": {name: {"reference": address,
        "model": its model, "metrics": {metric: …}}}}``. A metric holds the fields of `significance.Paired`,
        ``p_holm``: p corrected over its family, which is the headline metrics or, for any other, the rest; and
        ``p_holm_references``: p corrected over all references of this metric.

    Raises:
        InputError: a reference does not hold the same queries.
    """
    against = {
        name: {
            "reference": reference.address,
            "model": reference.facts.get("model", ""),
            "metrics": compare_tables(name, reference.address, candidate.per_query, reference.per_query, settings),
        }
        for name, reference in references.items()
    }
    correct([other["metrics"] for other in against.values()], metric_names(settings.cutoffs), "p_holm_references")
    return {
        "confidence_level": settings.confidence_level,
        "resamples": settings.resamples,
        "seed": settings.seed,
        "primary_metric": settings.primary_metric,
        "against": against,
    }


def compare_finished(candidate: str, references: Mapping[str, str], settings: EvaluationSettings) -> dict[str, Any]:
    """`compare` of finished evaluations.

    Args:
        candidate: address of the evaluation of the model in question.
        references: name -> address of an evaluation of the same queries.
        settings: as for `compare`; cutoffs and relevance level are those that the candidate was measured with.

    Raises:
        InputError: one is not finished, or was measured otherwise than the candidate.
    """
    measured = EvaluationArtifact.open(candidate)
    protocol = {name: measured.facts[name] for name in ("cutoffs", "relevance_level", "ignore_identical_ids")}
    settings = EvaluationSettings.checked(settings.model_dump() | protocol)
    opened = {name: EvaluationArtifact.open(address) for name, address in references.items()}
    for name, reference in opened.items():
        check_comparable(name, reference, measured.facts)
    query_ids = measured.per_query["query_id"].to_list()
    return compare(measured, {name: one.of_queries(query_ids) for name, one in opened.items()}, settings)


def correct(compared: Sequence[dict[str, dict[str, float]]], metrics: Sequence[str], name: str) -> None:
    """Add Holm's corrected p of each metric over all that were `compared`, under a `name`."""
    for metric in metrics:
        adjusted = holm([found[metric]["p_value"] for found in compared])
        for found, p in zip(compared, adjusted, strict=True):
            found[metric][name] = p


def compare_tables(
    name: str, address: str, candidate: pl.DataFrame, reference: pl.DataFrame, settings: EvaluationSettings
) -> dict[str, dict[str, float]]:
    """Metric -> difference of two models, interval, p and counts, as in comparison.json.

    Args:
        name, address: of the reference, for messages.
        candidate, reference: per-query tables of `EvaluationArtifact`.
        settings: resamples, level, seed, and the headline metrics.

    Raises:
        InputError: the reference does not hold the same queries.
    """
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
