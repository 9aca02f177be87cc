"""What was trained on what, and how it went: training.json as one HTML page. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharpen.progress import clock
from sharpen.reports.formatting import flat, number, plain
from sharpen.reports.html_page import templates
from sharpen.reports.training_curves import training_curves


def render_page(facts: Mapping[str, Any]) -> str:
    """The page for the contents of training.json; ``logs`` among them is where the output of the job's pods is."""
    adapters = facts.get("adapters")
    time_limit = facts.get("time_limit") or {}
    return (
        templates(Path(__file__).parent)
        .get_template("page.html.j2")
        .render(
            facts=facts,
            took=clock(facts["seconds"]),
            cards=_cards(facts),
            notices=[*facts["warnings"], *filter(None, (facts.get("dev_note"), time_limit.get("described")))],
            figures=training_curves(facts),
            trained_on=[
                ("base model", facts["base_model"]),
                ("data", facts["data"]),
                ("fingerprint of the data", facts["data_fingerprint"]),
                ("hard negatives", facts["negatives"] or "none"),
                ("trained weights", f"{facts['trained_weights']:,} of {facts['weights']:,}"),
                *([("adapters", adapters)] if adapters else []),
                ("code", facts["code_version"]),
                *([("logs of every pod", facts["logs"])] if facts.get("logs") else []),
            ],
            sources=[(name, [f"{n:,}" for n in found.values()]) for name, found in facts["sources"].items()],
            settings=[(part.capitalize(), flat(facts[part])) for part in ("settings", "encoder", "counts")],
        )
    )


def _cards(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(figure, what it is) of what a person looks for first; figures that were not measured are left out."""
    before, best = facts.get("dev_ndcg_at_10_base"), facts.get("dev_ndcg_at_10")
    found = [
        (plain(facts["steps"]), f"steps, {facts['epochs']:.3g} epochs"),
        (_pair(facts["first_loss"], facts["last_loss"], plain), "first and last loss"),
        (_pair(before, best, number), f"nDCG@10 on dev, best at step {facts.get('best_step')}"),
        (plain(round(facts["queries_per_second"], 1)), "queries a second"),
    ]
    if facts["negatives_per_query"] is not None:
        found.append((plain(round(facts["negatives_per_query"], 1)), "negatives a query"))
    return [(figure, what) for figure, what in found if figure]


def _pair(before: float | None, after: float | None, text: Any) -> str:
    """``before → after``; only one where the other is unknown."""
    return " → ".join(text(value) for value in (before, after) if value is not None)
