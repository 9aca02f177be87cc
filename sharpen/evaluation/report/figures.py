"""The figures of the report: a chart is a function here and its name in `FIGURES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharpen.data.trec import field
from sharpen.evaluation.artifact import EvaluationArtifact
from sharpen.evaluation.report.provenance import Provenance
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.evaluation.significance import SAME
from sharpen.evaluation.split import EvaluationSplit
from sharpen.metrics import measure
from sharpen.reports import charts
from sharpen.reports.charts import Figure, Series
from sharpen.reports.formatting import is_number, label, number
from sharpen.reports.merging_curves import gain_and_forgetting
from sharpen.reports.training_curves import TRAINING_CURVES, Log, read_log

POINTS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63, 80, 100)
TICKS = (1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class ReportData:
    """What figures are drawn from.

    Attributes:
        models: (name, role, evaluation), the reported one last.
        split: texts and judgements.
        comparison: comparison.json, or empty.
        settings: what was measured and how.
        provenance: what earlier steps left.
    """

    models: Sequence[tuple[str, str, EvaluationArtifact]]
    split: EvaluationSplit
    comparison: Mapping[str, Any]
    settings: EvaluationSettings
    provenance: Provenance


def query_by_query(data: ReportData) -> Figure | None:
    """How queries moved against the first reference; None without one."""
    if not data.comparison:
        return None
    metric, (name, _, reference), candidate = data.settings.primary_metric, data.models[0], data.models[-1][2]
    differences = candidate.per_query[metric].to_numpy() - reference.per_query[metric].to_numpy()
    differences = np.where(np.abs(differences) < SAME, 0.0, differences)
    result = data.comparison["against"][name]["metrics"][metric]
    chart = charts.split_bar(
        [("better", "w", result["wins"]), ("equal", "t", result["ties"]), ("worse", "l", result["losses"])]
    )
    if result["wins"] or result["losses"]:
        chart += charts.difference_histogram(differences.tolist(), label(metric))
    return Figure("Query by query", f"change of {label(metric)} against {name}", chart)


def recall_by_depth(data: ReportData) -> Figure:
    """Recall@k for k from 1 to 100, a line for each model."""
    qrels = {field(q): {field(p): grade for p, grade in found.items()} for q, found in data.split.qrels.items()}
    names = [f"recall_at_{k}" for k in POINTS]
    series = []
    for name, role, evaluated in data.models:
        rankings = {query_id: [p for p, _ in hits] for query_id, hits in evaluated.hits.items()}
        values = measure(qrels, rankings, list(qrels), names, relevance_level=data.settings.relevance_level)
        series.append(Series(name, role, [(k, float(values[at].mean())) for k, at in zip(POINTS, names, strict=True)]))
    chart = charts.line_chart(
        "Recall by number of passages retrieved, k from 1 to 100",
        series,
        log_x=True,
        x_ticks=TICKS,
        top=1.0,
        text=lambda value: number(value, 1) if value else "0",
        end_text=number,
    )
    return Figure("Recall by depth", "share of the relevant passages among the first k", chart)


def of_the_log(draw: Callable[[Log], Figure | None]) -> Callable[[ReportData], Figure | None]:
    """A chart of the log in training.json."""
    return lambda data: draw(read_log(data.provenance.training))


def of_merging(number: int) -> Callable[[ReportData], Figure | None]:
    """A chart (by its `number`) of what was searched in merging.json."""

    def draw(data: ReportData) -> Figure | None:
        figures = gain_and_forgetting(data.provenance.merging)
        return figures[number] if figures else None

    return draw


def mining_scores(data: ReportData) -> Figure | None:
    """Histograms of the mining model's scores of positives and negatives."""
    mining, kinds = data.provenance.mining, ("positive", "negative")
    if not all(is_histogram(mining.get(f"{kind}_scores")) for kind in kinds):
        return None
    series = [(f"{kind}s", kind, mining[f"{kind}_scores"]) for kind in kinds]
    return Figure("Scores", "by the mining model", charts.histogram("Scores of positives and negatives", series))


def counts(part: str, key: str, heading: str, note: str) -> Callable[[ReportData], Figure | None]:
    """A row for each number of the dictionary `key` in `part` of the provenance, under a `heading` with a `note`."""

    def draw(data: ReportData) -> Figure | None:
        found = getattr(data.provenance, part).get(key)
        if not isinstance(found, Mapping):
            return None
        rows = [(str(name).replace("_", " "), int(n)) for name, n in found.items() if is_number(n) and n > 0]
        total = sum(n for _, n in rows)
        return Figure(heading, note, charts.count_table([(name, n, n / total) for name, n in rows])) if rows else None

    return draw


def queries_by_split(data: ReportData) -> Figure | None:
    """How many queries each split of the data has."""
    splits = data.provenance.data.get("splits")
    if not isinstance(splits, Mapping):
        return None
    rows = [(str(name), found.get("queries")) for name, found in splits.items() if isinstance(found, Mapping)]
    rows = [(name, n) for name, n in rows if is_number(n)]
    total = sum(n for _, n in rows)
    chart = charts.count_table([(name, int(n), n / total) for name, n in rows if n])
    return Figure("Queries by split", "of the prepared data", chart) if total else None


FIGURES: dict[str, tuple[Callable[[ReportData], Figure | None], ...]] = {
    "scores": (query_by_query, recall_by_depth),
    "training": tuple(of_the_log(draw) for draw in TRAINING_CURVES),
    "merging": (of_merging(0), of_merging(1)),
    "mining": (
        mining_scores,
        counts("mining", "picked_by", "Picked", "negatives by where they come from"),
        counts("mining", "dropped_by_rule", "Filtered out", "candidates by the rule that dropped them"),
    ),
    "data": (
        queries_by_split,
        counts("data", "dropped", "Left out", "while the data were prepared"),
    ),
}
"""Section of the page -> its figures, in order; one that returns None is left out."""


def draw(data: ReportData) -> dict[str, list[Figure]]:
    """The figures of every section."""
    return {
        section: [figure for make in makers if (figure := make(data)) is not None]
        for section, makers in FIGURES.items()
    }


def is_histogram(value: Any) -> bool:
    """Whether a value is ``{"edges": n + 1 numbers, "counts": n numbers}``, n > 0."""
    if not isinstance(value, Mapping):
        return False
    edges, counted = value.get("edges"), value.get("counts")
    return (
        isinstance(edges, list)
        and isinstance(counted, list)
        and len(edges) == len(counted) + 1 > 1
        and all(map(is_number, [*edges, *counted]))
    )
