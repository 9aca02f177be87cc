"""An evaluation in short: tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from sharpen.evaluation import artifact
from sharpen.evaluation.artifact import EvaluationArtifact
from sharpen.evaluation.settings import MEASURES, EvaluationSettings
from sharpen.reports.formatting import interval, label, number, p_text, signed
from sharpen.store import storage

DETAILED = ("base", "champion")
"""References of which every headline metric is shown; of others the primary one."""


def evaluation_lines(address: str, settings: EvaluationSettings) -> Iterator[str | Table]:
    """Headline metrics of a finished evaluation, differences if there are any, and where the report is."""
    found, against = EvaluationArtifact.open(address), _against(address)
    yield f"{found.facts['queries']:,} queries of {found.facts['split']}, {found.facts['passages']:,} passages"
    if synthetic := found.facts.get(artifact.SYNTHETIC):
        yield synthetic
    if not against:
        yield _table(("metric", "score"), [(name, number(found.metrics[name])) for name in settings.headline_metrics])
    if others := {name: other for name, other in against.items() if name not in DETAILED}:
        yield systems_table(found.metrics, others, settings)
    for name, other in against.items():
        if name not in DETAILED:
            continue
        yield _against_table(name, {metric: other["metrics"][metric] for metric in settings.headline_metrics}, settings)
    yield from _task_lines(address, settings)
    yield f"report  {storage.join(address, artifact.REPORT)}"


def systems_table(metrics: Mapping[str, float], against: Mapping[str, Any], settings: EvaluationSettings) -> Table:
    """The candidate and every system that it is compared with by the primary metric, the best first.

    Args:
        metrics: of the candidate.
        against: part of comparison.json, by name.
        settings: primary metric, level.
    """
    metric = settings.primary_metric
    rows = [(metrics[metric], ("this model", number(metrics[metric]), *[""] * 5))]
    for name, other in against.items():
        r = other["metrics"][metric]
        counts = f"{r['wins']}/{r['ties']}/{r['losses']}"
        gain = (signed(r["difference"]), interval(r["ci_low"], r["ci_high"]), p_text(r["p_value"]))
        row = (name, number(r["reference"]), *gain, p_text(r["p_holm_references"]), counts)
        rows.append((r["reference"], row))
    level = f"{100 * settings.confidence_level:g} % interval"
    header = (metric, "score", "this model's lead", level, "p", "p (Holm)", "won/tied/lost")
    return _table(header, [row for _, row in sorted(rows, key=lambda row: -row[0])])


def comparison_lines(
    candidate: str, compared: Mapping[str, Any], settings: EvaluationSettings
) -> Iterator[str | Table]:
    """What `compare_finished` returned, as a table of the primary metric.

    Args:
        candidate: address of the evaluation in question.
        compared: what was returned.
        settings: primary metric, level.
    """
    found = EvaluationArtifact.open(candidate)
    yield f"{found.facts['queries']:,} queries of {found.facts['split']}"
    yield systems_table(found.metrics, compared["against"], settings)


def _task_lines(address: str, settings: EvaluationSettings) -> Iterator[str | Table]:
    """Figures of other tasks than retrieval, a line and a table for each task and model that it is compared with."""
    where = storage.join(address, artifact.TASKS)
    for task in storage.read_json(where)["tasks"] if storage.exists(where) else []:
        named = dict.fromkeys([task["task_type"], task["name"]])
        yield f"{' '.join(named)}, {task['texts']:,} texts"
        if not task["against"]:
            yield _table(("metric", "score"), [(label(name), number(value)) for name, value in task["metrics"].items()])
        for reference, figures in task["against"].items():
            yield _against_table(reference, {label(name): figure for name, figure in figures.items()}, settings)


def _against_table(reference: str, figures: Mapping[str, Mapping[str, float]], settings: EvaluationSettings) -> Table:
    """Metric -> its comparison with a reference, as a table."""
    rows = []
    for name, r in figures.items():
        scores = (number(r["reference"]), number(r["candidate"]), signed(r["difference"]))
        rows.append((name, *scores, interval(r["ci_low"], r["ci_high"]), p_text(r["p_value"])))
    level = f"{100 * settings.confidence_level:g} % interval"
    return _table(("metric", reference, "score", "change", level, "p"), rows)


def score_lines(result: dict[str, Any]) -> Iterator[str | Table]:
    """What `score` returns, as a table: a row a measure, a column a cutoff."""
    facts, metrics = result["facts"], result["metrics"]
    retrieved = f"{facts['relevant_retrieved']:,} of {facts['relevant']:,} relevant passages retrieved"
    yield f"{facts['queries']:,} queries, {retrieved}"
    rows = [
        (
            kind,
            *(number(metrics[f"{kind}_at_{k}"], 4) for k in facts["cutoffs"]),
            number(metrics[kind], 4) if kind in metrics else "",
        )
        for kind in MEASURES
    ]
    yield _table(("metric", *(f"@{k}" for k in facts["cutoffs"]), "uncut"), rows)
    if missing := facts["judged_queries_missing_in_run"]:
        counted = "count as zero" if facts["missing_queries"] == "zero" else "are left out"
        yield f"{missing:,} judged queries are not in the run and {counted} (setting missing_queries)"


def _against(address: str) -> dict[str, Any]:
    comparison = storage.join(address, artifact.COMPARISON)
    return storage.read_json(comparison)["against"] if storage.exists(comparison) else {}


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(header[0])
    for name in header[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
