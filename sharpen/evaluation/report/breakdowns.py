"""What else an evaluation measured, as the report shows it: slices, the guard set, variants, tasks of other types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from sharpen.reports import charts
from sharpen.reports.charts import Figure, Series
from sharpen.reports.formatting import interval, is_number, label, number, plain, signed
from sharpen.reports.gains import GainRow, gain_tables

SLICES_DRAWN = 12
"""Values of a field whose gains are drawn, the first of its order; a table has them all."""

Row = tuple[str, list[str]]


@dataclass(frozen=True)
class Slices:
    """The values of one field: those that are drawn against `name`, and all of them in a table."""

    field: str
    name: str
    drawn: list[GainRow]
    axis: Markup
    header: list[str]
    rows: list[Row]


@dataclass(frozen=True)
class Guard:
    """The guard set: its sentence, and its gains over each reference."""

    sentence: str
    gains: list[tuple[str, list[GainRow], Markup]]
    header: list[str]
    rows: list[Row]


@dataclass(frozen=True)
class Variants:
    """Sizes and precisions of the vectors: a table, a chart of quality by size, and what encoding costs."""

    header: list[str]
    rows: list[Row]
    figures: list[Figure] = field(default_factory=list)
    note: str = ""


def slices(found: Mapping[str, Any], metric: str) -> list[Slices]:
    """The fields of slices.json, each with the gain of a `metric` against the champion or else the first other."""
    by_field: dict[str, list[Mapping[str, Any]]] = {}
    for one in found.get("slices", []):
        by_field.setdefault(str(one["field"]), []).append(one)
    return [_slices(name, rows, metric) for name, rows in by_field.items()]


def _slices(name: str, found: Sequence[Mapping[str, Any]], metric: str) -> Slices:
    others = list(dict.fromkeys(other for one in found for other in one.get("against", {})))
    main = "champion" if "champion" in others else next(iter(others), "")
    drawn = [
        (_value(one), one["against"][main][metric], f"{one['queries']:,}")
        for one in found
        if _measured(one.get("against", {}).get(main, {}).get(metric))
    ][:SLICES_DRAWN]
    tables = gain_tables({main: drawn}, written=str)
    _, rows, axis = tables[0] if tables else ("", [], Markup())
    header = ["queries", "groups", "this model", *(f"change against {other}" for other in others)]
    written = [
        (
            _value(one),
            [
                f"{one['queries']:,}",
                f"{one.get('groups', one['queries']):,}",
                number(one["metrics"][metric]) if metric in one.get("metrics", {}) else "–",
                *(change(one.get("against", {}).get(other, {}).get(metric)) for other in others),
            ],
        )
        for one in found
    ]
    return Slices(name.removeprefix("fields.").replace("_", " "), main, rows, axis, header, written)


def _value(one: Mapping[str, Any]) -> str:
    return str(one["value"]) or "not stated"


def _measured(figures: Mapping[str, Any] | None) -> bool:
    """Whether there is a difference with an interval: too few groups have none."""
    return bool(figures) and all(is_number(figures.get(key)) for key in ("difference", "ci_low", "ci_high"))


def change(figures: Mapping[str, Any] | None) -> str:
    """A difference with its interval, or a dash where it was not measured."""
    if figures is None or not _measured(figures):
        return "–"
    return f"{signed(figures['difference'])} ({interval(figures['ci_low'], figures['ci_high'])})"


def guard(found: Mapping[str, Any], metrics: Sequence[str]) -> Guard | None:
    """guard.json; None where no guard set was measured."""
    if not found.get("queries"):
        return None
    name = found.get("name") or "guard set"
    sentence = (
        f"{found['queries']:,} queries of {name}, which the model was not tuned for: a loss here is something that "
        "the model has forgotten."
    )
    against = {
        other: [
            (metric, figures[metric], f"{found['queries']:,}") for metric in metrics if _measured(figures.get(metric))
        ]
        for other, figures in found.get("against", {}).items()
    }
    scores = [(label(metric), [number(found["metrics"][metric])]) for metric in metrics if metric in found["metrics"]]
    return Guard(sentence, gain_tables({k: v for k, v in against.items() if v}), ["this model"], scores)


def variants(found: Mapping[str, Any], metric: str) -> Variants | None:
    """variants.json, by quality in a `metric`; None where none were measured."""
    rows = found.get("variants") or []
    encoding = found.get("encoding") or {}
    note = _encoding(encoding)
    if not rows:
        return Variants([], [], [], note) if note else None
    others = list(dict.fromkeys(other for one in rows for other in one.get("against", {})))
    header = [
        "dimensions",
        "precision",
        "bytes a passage",
        "index",
        "median ms",
        "95 % within ms",
        label(metric),
        "against full",
        *(f"against {other} in this size" for other in others),
    ]
    written = [
        (
            str(one["name"]),
            [
                _plain(one.get("dimension")),
                str(one.get("precision", "–")),
                _plain(one.get("bytes_per_passage")),
                _bytes(one.get("index_bytes")),
                _milliseconds(one.get("latency_ms_p50")),
                _milliseconds(one.get("latency_ms_p95")),
                number(one["metrics"][metric]) if metric in one.get("metrics", {}) else "–",
                _against_full(one.get("against_full"), metric),
                *(_against_other(one, other, metric) for other in others),
            ],
        )
        for one in rows
    ]
    return Variants(header, written, [figure] if (figure := _size_chart(rows, metric)) else [], note)


def tasks(found: Mapping[str, Any]) -> tuple[list[str], list[Row]] | None:
    """Header and rows of tasks.json, a row for each metric of a task; None where no other task was measured."""
    rows = found.get("tasks") or []
    others = list(dict.fromkeys(other for one in rows for other in one.get("against", {})))
    written = [
        (
            str(one.get("name") or one.get("task_type", "")),
            [
                str(one.get("task_type", "–")),
                label(metric),
                number(value),
                *(change(one.get("against", {}).get(other, {}).get(metric)) for other in others),
            ],
        )
        for one in rows
        for metric, value in one.get("metrics", {}).items()
        if is_number(value)
    ]
    header = ["type", "metric", "this model", *(f"change against {other}" for other in others)]
    return (header, written) if written else None


def _against_full(value: Any, metric: str) -> str:
    if isinstance(value, Mapping):
        value = value.get(metric, value)
        if isinstance(value, Mapping) and {"difference", "ci_low", "ci_high"} <= set(value):
            return change(value)
        value = value.get("difference") if isinstance(value, Mapping) else value
    return signed(value) if is_number(value) else "–"


def _against_other(variant: Mapping[str, Any], other: str, metric: str) -> str:
    """A variant against a reference, with a word where that was not measured in this size."""
    found = variant.get("against", {}).get(other, {}).get(metric)
    size = variant.get("against_size", {}).get(other)
    return change(found) + (f" ({other} in full)" if found and size != variant["name"] else "")


def _size_chart(rows: Sequence[Mapping[str, Any]], metric: str) -> Figure | None:
    """Quality by bytes a passage, a line for each precision; None with fewer than two sizes."""
    points: dict[str, list[tuple[float, float]]] = {}
    for one in rows:
        size, quality = one.get("bytes_per_passage"), one.get("metrics", {}).get(metric)
        if size and is_number(size) and is_number(quality):
            points.setdefault(str(one.get("precision", "")), []).append((float(size), float(quality)))
    sizes = sorted({size for found in points.values() for size, _ in found})
    if len(sizes) < 2:
        return None
    roles = ("tuned", "champion", "other-1", "other-2")
    series = [
        Series(name, roles[min(i, len(roles) - 1)], sorted(found)) for i, (name, found) in enumerate(points.items())
    ]
    # labels of sizes that are close to each other would lie on each other
    ticks = [size for i, size in enumerate(sizes) if i == 0 or size >= 1.6 * sizes[i - 1]]
    chart = charts.line_chart(
        f"{label(metric)} by bytes a passage, a line for each precision",
        series,
        log_x=True,
        x_ticks=ticks,
        text=lambda value: number(value, 2),
        named_ends=False,
        dots=True,
    )
    return Figure("Quality by size", f"{label(metric)} by bytes a passage (logarithmic)", chart)


def _encoding(encoding: Mapping[str, Any]) -> str:
    speed: Any = encoding.get("passages_per_second")
    cost: Any = encoding.get("cost_per_million_passages")
    parts = []
    if is_number(speed):
        parts.append(f"{plain(round(speed, 1))} passages a second were encoded here")
    if is_number(cost):
        price: Any = encoding.get("cost_per_hour")
        hourly = f"{plain(price)} an hour" if is_number(price) else "the price that is set"
        parts.append(f"a million passages cost {plain(round(cost, 2))} at {hourly}")
    return "; ".join(parts) + "." if parts else ""


def _plain(value: Any) -> str:
    return plain(value) if is_number(value) else "–"


def _milliseconds(value: Any) -> str:
    return f"{value:.3g}" if is_number(value) else "–"


def _bytes(value: Any) -> str:
    """1,234 B, 5.6 MB: decimal units."""
    if not is_number(value):
        return "–"
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{int(value)} B"
