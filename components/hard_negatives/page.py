"""The report as one HTML page without scripts and without anything to fetch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from components.hard_negatives.charts import overlaid_histograms
from components.hard_negatives.report import NEGATIVES_SHOWN

RULE_NAMES = {
    "known_positive_id": "known positive, by id",
    "known_positive_text": "known positive, by text",
    "query_text": "the query's own text",
    "given_negative": "given as a negative already",
    "repeated_text": "copy of a passage ranked higher",
    "max_score": "above max_score",
    "min_score": "below min_score",
    "absolute_margin": "absolute_margin: too close to the positive",
    "relative_margin": "relative_margin: too close to the positive",
}
PICKED_NAMES = {
    "search": "sampled from the range",
    "further_rank": "topped up from further ranks",
    "random": "drawn from the corpus",
    "given": "given with the data",
}
OUTCOME_NAMES = {
    **RULE_NAMES,
    "picked": "picked as a negative",
    "not_drawn": "in the range, but not drawn",
    "above_the_range": "ranked above the range",
    "below_the_range": "ranked below the range",
    "below_the_searched_ranks": "below the searched ranks",
}


def render_page(report: Mapping[str, Any]) -> str:
    """The page for the contents of report.json."""
    chart = overlaid_histograms(
        [
            ("positives", "positive", report["positive_scores"]),
            ("negatives", "negative", report["negative_scores"]),
        ]
    )
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            chart=chart,
            dropped=counted(report["dropped_by_rule"], RULE_NAMES, report["candidates"]),
            picked=counted(report["picked_by"], PICKED_NAMES, report["negatives"]),
            outcome=counted(hidden["outcome"], OUTCOME_NAMES, hidden["queries"])
            if (hidden := report["hidden_positives"])
            else [],
            examples=[example(row) for row in report["examples"]],
            provenance=[
                (key.replace("_", " "), report[key]) for key in ("model", "model_hash", "data", "data_fingerprint")
            ],
        )
    )


def counted(counts: Mapping[str, int], names: Mapping[str, str], total: int) -> list[tuple[str, int, float]]:
    """(name, count, share in per cent) of what was counted at least once, in its order."""
    return [(names.get(key, key), count, 100 * count / max(1, total)) for key, count in counts.items() if count]


def example(row: Mapping[str, Any]) -> dict[str, Any]:
    """An example's passages as a list: (role, text, score, rank)."""
    passages = [("positive", row["positive"], row["positive_score"], None)]
    for number in range(1, NEGATIVES_SHOWN + 1):
        name = f"negative_{number}"
        if name in row:
            passages.append(("negative", row[name], row[f"{name}_score"], row[f"{name}_rank"]))
    return {"query": row["query"], "passages": passages}


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
