"""Gain against forgetting by weight, drawn from a merging.json: for its own page and for the evaluation's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sharpen.reports import charts
from sharpen.reports.charts import Figure, Series
from sharpen.reports.formatting import is_number, label, signed


def gain_and_forgetting(merging: Mapping[str, Any]) -> list[Figure]:
    """Gain on dev and change on the guard set by weight, and one against the other; empty where none was searched."""
    table = merging.get("searched")
    points = [point for row in (table if isinstance(table, list) else ()) if (point := _point(row)) is not None]
    if len(points) < 2:
        return []
    metric = label(str(merging.get("metric")))
    lines = [
        Series("guard set", "base", [(weight, guard) for weight, _, guard in points]),
        Series("dev", "tuned", [(weight, dev) for weight, dev, _ in points]),
    ]
    by_weight = charts.line_chart(f"Change of {metric} by weight", lines, text=signed, end_text=signed, dots=True)
    against = charts.line_chart(
        f"Gain of {metric} on dev against its change on the guard set, a point for each weight",
        [Series("weights", "tuned", [(guard, dev) for _, dev, guard in points])],
        text=signed,
        named_ends=False,
        dots=True,
    )
    return [
        Figure("Gain and forgetting by weight", f"{metric} less that of weight 0", by_weight),
        Figure("Gain against forgetting", "up: gain on dev; right: change on the guard set", against),
    ]


def _point(row: Any) -> tuple[float, float, float] | None:
    """Weight, gain on dev and change on the guard set; None for what is no row of a search."""
    if not isinstance(row, Mapping):
        return None
    found = [row.get("weight"), *(_difference(row.get(part)) for part in ("dev", "guard"))]
    return (float(found[0]), float(found[1]), float(found[2])) if all(map(is_number, found)) else None


def _difference(part: Any) -> Any:
    return part.get("difference") if isinstance(part, Mapping) else None
