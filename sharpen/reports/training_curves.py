"""The curves of a training, drawn from the log in its training.json: for its own page and for the evaluation's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sharpen.reports import charts
from sharpen.reports.charts import Figure, Series
from sharpen.reports.formatting import MINUS, is_number, label, number, plain

# A line is drawn through at most this many points.
LOGGED_POINTS = 400

Log = Mapping[str, list[tuple[float, float]]]
"""Name of a logged value -> its (step, value) points."""


def training_loss(log: Log) -> Figure | None:
    """Each step's loss and its smoothed line; None where none was logged."""
    loss = log.get("loss")
    if not loss:
        return None
    lines = [Series("each step", "faint", thin(loss)), Series("loss", "tuned", thin(smoothed(loss)))]
    if len(loss) < 20:
        lines = [Series("loss", "tuned", loss)]
    return Figure("Training loss", "by step; the strong line is smoothed", charts.line_chart("Loss by step", lines))


def dev_scores(log: Log) -> Figure | None:
    """Up to three retrieval metrics of the dev split by step; None where fewer than two were logged."""
    found = {key: points for key, points in log.items() if key.startswith(("dev_", "eval_"))}
    scores = {key: points for key, points in found.items() if all(0 <= y <= 1 for _, y in points) and len(points) > 1}
    shown = [key for key in scores if any(name in key for name in ("ndcg", "recall", "mrr", "map"))][:3]
    if not shown:
        return None
    roles = ("champion", "base", "tuned")[-len(shown) :]
    lines = [
        Series(label(key.removeprefix("eval_").removeprefix("dev_")), role, scores[key])
        for key, role in zip(reversed(shown), roles, strict=True)
    ]
    chart = charts.line_chart("Dev split by step", lines, text=lambda value: number(value, 2), end_text=number)
    return Figure("Dev split", "by step", chart)


def logged_value(key: str, heading: str) -> Callable[[Log], Figure | None]:
    """A small chart of one logged value by step; None where fewer than two were logged."""

    def draw(log: Log) -> Figure | None:
        points = log.get(key, [])
        if len(points) < 2:
            return None
        line = Series(heading, "quiet", thin(points))
        chart = charts.line_chart(f"{heading} by step", [line], height=90, named_ends=False, text=short)
        return Figure(heading, "by step", chart)

    return draw


TRAINING_CURVES: tuple[Callable[[Log], Figure | None], ...] = (
    training_loss,
    dev_scores,
    logged_value("learning_rate", "Learning rate"),
    logged_value("grad_norm", "Gradient norm"),
    logged_value("negatives_per_query", "Negatives per query"),
)


def training_curves(training: Mapping[str, Any]) -> list[Figure]:
    """All curves for which the contents of a training.json hold points."""
    log = read_log(training)
    return [figure for draw in TRAINING_CURVES if (figure := draw(log)) is not None]


def read_log(training: Mapping[str, Any]) -> Log:
    """`columns` of the log in a training.json."""
    log = training.get("log")
    return columns([row for row in log if isinstance(row, Mapping)] if isinstance(log, list) else [])


def columns(records: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Name -> (step, value) of every number that the records hold; a record without a step counts on."""
    found: dict[str, list[tuple[float, float]]] = {}
    for number_of_record, record in enumerate(records, start=1):
        step = record.get("step", number_of_record)
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
