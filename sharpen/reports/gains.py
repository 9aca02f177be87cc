"""Gains over other models with their intervals, drawn on one scale: for `gain_table` in `tables.html.j2`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from sharpen.reports.charts import interval_axis, interval_scale, interval_strip
from sharpen.reports.formatting import interval, label, number, signed
from sharpen.reports.svg import Scale


@dataclass(frozen=True)
class GainRow:
    """One metric, or one slice, against one other model; `note` is its last column."""

    metric: str
    before: str
    after: str
    difference: str
    interval: str
    note: str
    tone: str
    strip: Markup


def tone(figures: Mapping[str, Any]) -> str:
    """``up`` or ``down`` where the interval of a difference stays clear of zero, else ``level``."""
    return "up" if figures["ci_low"] > 0 else "down" if figures["ci_high"] < 0 else "level"


def gain_tables(
    compared: Mapping[str, Sequence[tuple[str, Mapping[str, Any], str]]], written: Callable[[str], str] = label
) -> list[tuple[str, list[GainRow], Markup]]:
    """(name of the other model, its rows, their axis) for each; all strips have one scale.

    Args:
        compared: name of the other model -> metrics: its name, its figures (``reference``, ``candidate``,
            ``difference``, ``ci_low``, ``ci_high``) and a note.
        written: a row's name as it is shown.
    """
    bounds = [(figures["ci_low"], figures["ci_high"]) for rows in compared.values() for _, figures, _ in rows]
    if not bounds:
        return []
    scale = interval_scale(bounds)
    return [
        (other, [_row(written(name), figures, note, scale) for name, figures, note in rows], interval_axis(scale))
        for other, rows in compared.items()
    ]


def _row(name: str, figures: Mapping[str, Any], note: str, scale: Scale) -> GainRow:
    low, middle, high = figures["ci_low"], figures["difference"], figures["ci_high"]
    title = f"{name}: {signed(middle)}, interval {interval(low, high)}"
    return GainRow(
        metric=name,
        before=number(figures["reference"]),
        after=number(figures["candidate"]),
        difference=signed(middle),
        interval=interval(low, high),
        note=note,
        tone=tone(figures),
        strip=interval_strip(scale, low, middle, high, tone(figures), title),
    )
