"""What the evaluation prints on a terminal when it is done."""

from __future__ import annotations

import shlex
from typing import Any

from rich.table import Table

from sharpen.evaluation import artifact
from sharpen.evaluation.settings import MEASURES, EvaluationAddresses, EvaluationSettings, ScoreAddresses
from sharpen.reports.formatting import interval, number, p_text, signed
from sharpen.store import storage
from sharpen.terminal import plain_console


def show_evaluation(addresses: EvaluationAddresses, settings: EvaluationSettings) -> None:
    """Headline metrics, differences if there are any, the report and the next command."""
    found = artifact.EvaluationArtifact.open(addresses.output)
    against: dict[str, Any] = {}
    if addresses.base or addresses.champion:
        against = storage.read_json(storage.join(addresses.output, artifact.COMPARISON))["against"]
    facts = found.facts
    console = plain_console()
    console.print(f"{facts['queries']:,} queries of {facts['split']}, {facts['passages']:,} passages")
    if not against:
        table = _table("metric", "score")
        for metric in settings.headline_metrics:
            table.add_row(metric, number(found.metrics[metric]))
        console.print(table)
    for name, other in against.items():
        level = f"{100 * settings.confidence_level:g} % interval"
        table = _table("metric", name, "score", "change", level, "p")
        for metric in settings.headline_metrics:
            result = other["metrics"][metric]
            span = interval(result["ci_low"], result["ci_high"])
            scores = (number(result["reference"]), number(result["candidate"]), signed(result["difference"]))
            table.add_row(metric, *scores, span, p_text(result["p_value"]))
        console.print(table)
    report = storage.join(addresses.output, artifact.REPORT)
    console.print(f"report  {report}", soft_wrap=True, markup=False)
    if not against:
        following = ["--model", "TUNED", "--data", addresses.data, "--split", addresses.split]
        following += ["--base", addresses.output, "--output", "OUT"]
        line = f"next    python -m components.evaluation {shlex.join(following)}"
        console.print(line, soft_wrap=True, markup=False)


def show_score(result: dict[str, Any], addresses: ScoreAddresses) -> None:
    """Metrics as a table: a row a measure, a column a cutoff."""
    facts, metrics = result["facts"], result["metrics"]
    console = plain_console()
    retrieved = f"{facts['relevant_retrieved']:,} of {facts['relevant']:,} relevant passages retrieved"
    console.print(f"{facts['queries']:,} queries, {retrieved}")
    table = _table("metric", *(f"@{k}" for k in facts["cutoffs"]), "uncut")
    for kind in MEASURES:
        cells = [number(metrics[f"{kind}_at_{k}"], 4) for k in facts["cutoffs"]]
        table.add_row(kind, *cells, number(metrics[kind], 4) if kind in metrics else "")
    console.print(table)
    if missing := facts["judged_queries_missing_in_run"]:
        counted = "count as zero" if facts["missing_queries"] == "zero" else "are left out"
        console.print(f"{missing:,} judged queries are not in the run and {counted} (setting missing_queries)")
    if addresses.output:
        console.print(f"written {addresses.output}", soft_wrap=True, markup=False)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
