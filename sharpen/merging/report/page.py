"""What was merged and why so: merging.json as one HTML page, with gain against forgetting by weight. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharpen.models.model_usage import usage_rows
from sharpen.progress import clock
from sharpen.reports.formatting import flat, interval, label, number, signed
from sharpen.reports.html_page import templates
from sharpen.reports.merging_curves import gain_and_forgetting

TITLES = {"interpolation": "Interpolation", "average": "Average", "task_arithmetic": "Task arithmetic"}


def render_page(facts: Mapping[str, Any]) -> str:
    """The page for the contents of merging.json."""
    table, models = facts["searched"], facts["models"]
    usages = {f"{model['role']} {model['address']}": _usage(facts["usages"][model["address"]]) for model in models}
    return (
        templates(Path(__file__).parent)
        .get_template("page.html.j2")
        .render(
            facts=facts,
            title=TITLES[facts["method"]] if facts["merged"] else "Not merged",
            took=clock(facts["seconds"]),
            models=[(model["address"], [model["role"], f"{model['coefficient']:.4g}"]) for model in models],
            figures=gain_and_forgetting(facts),
            metric=label(facts["metric"]) if table else "",
            weights=[(_weight(row, facts), _cells(row)) for row in table],
            # what no folder says of itself needs no row
            usages=(list(usages), [row for row in usage_rows(usages) if set(row[1]) != {"not recorded"}]),
            settings=flat(facts["settings"]),
        )
    )


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """A usage with its default prompt of queries alone, as tables show it."""
    prompts = usage.get("prompts")
    return {**usage, "query_prompts": {prompts["query"]: 1} if prompts else None}


def _weight(row: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    return f"{row['weight']:g}{' (taken)' if row['weight'] == facts['weight'] else ''}"


def _cells(row: Mapping[str, Any]) -> list[str]:
    cells = []
    for part in ("dev", "guard"):
        found = row[part]
        cells += [number(found["candidate"]), signed(found["difference"]), interval(found["ci_low"], found["ci_high"])]
    return cells
