"""The curves of the report: recall over k, and what the training logged over its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sharpen.data.trec import field
from sharpen.evaluation.artifact import EvaluationArtifact
from sharpen.evaluation.formatting import MINUS, label, number, plain
from sharpen.evaluation.metrics import measure
from sharpen.evaluation.report.charts import Series, line_chart
from sharpen.evaluation.report.provenance import is_number
from sharpen.evaluation.split import EvaluationSplit

POINTS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63, 80, 100)
TICKS = (1, 2, 5, 10, 20, 50, 100)

QUIET = {
    "learning_rate": "Learning rate",
    "grad_norm": "Gradient norm",
    "negatives_per_query": "Negatives per query",
}
"""Logged values that get a small chart of their own."""

# A line is drawn through at most this many points.
LOGGED_POINTS = 400


def recall_chart(
    models: Sequence[tuple[str, str, EvaluationArtifact]], judged: EvaluationSplit, relevance_level: int
) -> Markup:
    """Recall@k for k from 1 to 100, a line for each (name, role, evaluation), the most important last."""
    qrels = {field(q): {field(p): grade for p, grade in found.items()} for q, found in judged.qrels.items()}
    series = []
    for name, role, evaluated in models:
        rankings = {query_id: [p for p, _ in hits] for query_id, hits in evaluated.hits.items()}
        values = measure(qrels, rankings, list(qrels), POINTS, relevance_level=relevance_level)
        series.append(Series(name, role, [(k, float(values[f"recall_at_{k}"].mean())) for k in POINTS]))
    return line_chart(
        "Recall by number of passages kept, k from 1 to 100",
        series,
        log_x=True,
        x_ticks=TICKS,
        top=1.0,
        text=lambda value: number(value, 1) if value else "0",
        end_text=number,
    )


def training_charts(training: Mapping[str, Any]) -> list[tuple[str, str, Markup]]:
    """(heading, explanation, chart) for what the training logged; empty if it logged nothing.

    Args:
        training: training.json; ``log`` is a list of records with ``step`` and any of ``loss``, ``learning_rate``,
            ``grad_norm`` and measures of the dev split (names that begin with ``dev_`` or ``eval_``).
    """
    records = [record for record in training.get("log") or [] if isinstance(record, Mapping)]
    found = columns(records)
    charts = []
    if loss := found.pop("loss", None):
        lines = [Series("each step", "faint", thin(loss)), Series("loss", "tuned", thin(smoothed(loss)))]
        if len(loss) < 20:
            lines = [Series("loss", "tuned", loss)]
        charts.append(("Training loss", "by step; the strong line is smoothed", line_chart("Loss by step", lines)))
    dev = {key: points for key, points in found.items() if key.startswith(("dev_", "eval_"))}
    scores = {key: points for key, points in dev.items() if all(0 <= y <= 1 for _, y in points) and len(points) > 1}
    shown = [key for key in scores if "ndcg" in key or "recall" in key or "mrr" in key or "map" in key][:3]
    if shown:
        roles = ("champion", "base", "tuned")[-len(shown) :]
        lines = [
            Series(label(key.removeprefix("eval_").removeprefix("dev_")), role, scores[key])
            for key, role in zip(reversed(shown), roles, strict=True)
        ]
        chart = line_chart("Dev split by step", lines, text=lambda value: number(value, 2), end_text=number)
        charts.append(("Dev split", "by step", chart))
    for key, heading in QUIET.items():
        if len(found.get(key, [])) > 1:
            line = Series(heading, "quiet", thin(found[key]))
            chart = line_chart(f"{heading} by step", [line], height=90, named_ends=False, text=short)
            charts.append((heading, "by step", chart))
    return charts


def columns(records: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Name -> (step, value) of every number that the records hold; a record without a step counts on."""
    found: dict[str, list[tuple[float, float]]] = {}
    for place, record in enumerate(records, start=1):
        step = record.get("step", place)
        for key, value in record.items():
            if key not in ("step", "epoch") and is_number(value) and is_number(step):
                found.setdefault(key, []).append((float(step), float(value)))
    return found


def smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Exponential mean over about a twentieth of the points, corrected for its start."""
    keep = 1 - 1 / max(len(points) / 20, 2)
    total = weight = 0.0
    found = []
    for x, y in points:
        total, weight = keep * total + y, keep * weight + 1
        found.append((x, total / weight))
    return found


def thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about `LOGGED_POINTS` points, evenly picked, the last one among them."""
    step = math.ceil(len(points) / LOGGED_POINTS)
    return [*points[: len(points) - 1 : step], points[-1]]


def short(value: float) -> str:
    """An axis label for values of any size: 2e-5, 0.5, 12."""
    if value and abs(value) < 0.001:
        mantissa, power = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{MINUS}{abs(int(power))}"
    return plain(value)
