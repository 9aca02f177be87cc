"""The figures of a search."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sharpen.progress import clock
from sharpen.reports.charts import Figure, count_table
from sharpen.reports.formatting import number
from sharpen.reports.scatter import Points, scatter
from sharpen.reports.training_curves import short
from sharpen.tuning.records import Trial, pareto_front, second_value
from sharpen.tuning.space.dimension import Dimension


def pareto_figure(trials: Sequence[Trial], second: str) -> Figure | None:
    """Score against cost, with the trials that no other beats in both; None with fewer than two complete trials."""
    front = pareto_front(trials, second)
    points = [(t, v) for t in trials if t.result.state == "complete" and (v := second_value(t, second)) is not None]
    if len(points) < 2:
        return None
    numbers = {trial.number for trial in front}

    def layer(name: str, role: str, chosen: Sequence[Trial]) -> Points:
        of = {trial.number for trial in chosen}
        return Points(name, role, [(v, t.score, _hint(t, second)) for t, v in points if t.number in of])

    others = [trial for trial, _ in points if trial.number not in numbers]
    start = [trial for trial, _ in points if trial.number == 0]
    layers = [layer("beaten by another", "base", others), layer("beaten by none", "tuned", front)]
    layers.append(layer("the settings of the start", "champion", start))
    line = sorted((second_value(trial, second) or 0.0, trial.score) for trial in front)
    what = "time of the training (minutes:seconds)" if second == "seconds" else "nDCG@10 on the guard set"
    text = clock if second == "seconds" else lambda value: number(value, 3)
    chart = scatter(f"nDCG@10 on dev by {what}", layers, line=line, x_text=text)
    return Figure("What a better score costs", f"nDCG@10 on dev (up) by {what} (right)", chart)


def history_figure(trials: Sequence[Trial]) -> Figure | None:
    """The scores in the order of the trials, and the best so far; None with fewer than two."""
    scored = [trial for trial in trials if trial.result.score is not None]
    if len(scored) < 2:
        return None
    line: list[tuple[float, float]] = []
    for trial in scored:
        if trial.result.state == "complete":
            line.append((trial.number, max(trial.score, line[-1][1]) if line else trial.score))
    if line and line[-1][0] < scored[-1].number:
        line.append((scored[-1].number, line[-1][1]))
    ticks = [(float(trial.number), str(trial.number)) for trial in scored]
    ticks = ticks[:: max(1, -(-len(ticks) // 8))]
    chart = scatter("nDCG@10 on dev by trial", _by_state(scored, lambda t: t.number), line=line, x_ticks=ticks)
    return Figure("Score by trial", "nDCG@10 on dev; the line is the best so far", chart)


def slice_figures(trials: Sequence[Trial], space: Sequence[Dimension]) -> list[Figure]:
    """For each setting, the scores by its value."""
    scored = [trial for trial in trials if trial.result.score is not None]
    if len(scored) < 2:
        return []
    return [_slice(scored, one) for one in space]


def _slice(trials: Sequence[Trial], one: Dimension) -> Figure:
    values = {trial.number: trial.values.get(one.name) for trial in trials}
    ranged = not one.choices and all(isinstance(value, int | float) for value in values.values())
    if ranged:
        layers = _by_state(trials, lambda trial: float(values[trial.number]))  # type: ignore[arg-type]
        chart = scatter(f"nDCG@10 on dev by {one.name}", layers, log_x=one.log, x_text=short, height=150, named=False)
        return Figure(one.name, "logarithmic" if one.log else "", chart)
    order = list(one.choices or ())
    order += [value for value in dict.fromkeys(values.values()) if value not in order]
    layers = _by_state(trials, lambda trial: float(order.index(values[trial.number])))
    ticks = [(float(position), _shown(value)) for position, value in enumerate(order)]
    chart = scatter(f"nDCG@10 on dev by {one.name}", layers, x_ticks=ticks, height=150, named=False)
    return Figure(one.name, "", chart)


def importance_figure(importance: Mapping[str, float]) -> Figure | None:
    """How much of the differences each setting explains; None where that cannot be said."""
    if not importance:
        return None
    rows = [(name, None, share) for name, share in importance.items()]
    note = "share of the differences in score that it explains (fANOVA, over complete trials); rough with few trials"
    return Figure("What matters", note, count_table(rows))


def _by_state(trials: Sequence[Trial], x: Any) -> list[Points]:
    def layer(name: str, role: str, chosen: Sequence[Trial]) -> Points:
        return Points(name, role, [(float(x(t)), t.result.score or 0.0, _hint(t)) for t in chosen])

    start = [trial for trial in trials if trial.number == 0]
    others = [trial for trial in trials if trial.number != 0]
    return [
        layer("ended early", "faint", [t for t in others if t.result.state == "pruned"]),
        layer("trained to the end", "base", [t for t in others if t.result.state == "complete"]),
        layer("the settings of the start", "champion", start),
    ]


def _hint(trial: Trial, second: str = "seconds") -> str:
    values = ", ".join(f"{name.partition('.')[2]} {_shown(value)}" for name, value in trial.values.items())
    cost = clock(trial.result.training_seconds)
    if second == "guard" and trial.result.guard is not None:
        cost = f"guard set {number(trial.result.guard, 4)}"
    return f"trial {trial.number}: {number(trial.score, 4)}, {cost}; {values}"


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, list | dict):
        return json.dumps(value)
    return short(value) if isinstance(value, int | float) else str(value)
