"""Points over two axes, as inline SVG that follows the page's colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sharpen.reports.charts import key
from sharpen.reports.formatting import number, plain
from sharpen.reports.svg import Scale, axis, canvas, curve, el, frame, nice_ticks


@dataclass(frozen=True)
class Points:
    """Points of one kind; `role` gives their colour, as for `charts.Series`.

    Attributes:
        name: what they are.
        role: CSS class.
        points: (x, y, text that is shown when pointed at).
    """

    name: str
    role: str
    points: Sequence[tuple[float, float, str]]


def scatter(
    title: str,
    layers: Sequence[Points],
    *,
    line: Sequence[tuple[float, float]] = (),
    log_x: bool = False,
    x_ticks: Sequence[tuple[float, str]] = (),
    x_text: Callable[[float], str] = plain,
    height: int = 230,
    named: bool = True,
) -> Markup:
    """Points over common axes, y being scores.

    Args:
        title: what a screen reader says.
        layers: kinds of points, the last on top.
        line: points that a line joins.
        log_x: logarithmic x axis; x must be > 0.
        x_ticks: (value, label) on the x axis; none: round values.
        x_text: how round values are written.
        height: pixels of the plot area.
        named: whether a key names the kinds.
    """
    every = [point for layer in layers for point in layer.points]
    xs = [x for x, _, _ in every] + [x for x, _ in x_ticks]
    ys = [y for _, y, _ in every] + [y for _, y in line]
    y_ticks = nice_ticks(min(ys), max(ys), max(2, height // 55))
    digits = 3 if y_ticks[1] - y_ticks[0] >= 0.001 else 4
    low, high = min(xs), max(xs)
    room = (high / low) ** 0.05 if log_x else 0.05 * (high - low)
    x = Scale(low / room, high * room, True) if log_x else Scale(low - room, high + room)
    y = Scale(y_ticks[0], y_ticks[-1])
    if not x_ticks:
        x_ticks = [(tick, x_text(tick)) for tick in _round_values(x)]
    grid = frame([(x(value), text) for value, text in x_ticks], axis(y, y_ticks, lambda v: number(v, digits)), height)
    parts = [grid]
    if len(line) > 1:
        parts.append(curve([(x(a), y(b)) for a, b in line], height, "line tuned"))
    parts += [
        el("circle", el("title", text), cx=x.percent(a), cy=(1 - y(b)) * height, r=5, class_=f"point {layer.role}")
        for layer in layers
        for a, b, text in layer.points
    ]
    names = key([(layer.name, layer.role) for layer in layers if layer.points]) if named else Markup("")
    return names + el("div", canvas(title, height, *parts), class_="plot")


def _round_values(scale: Scale) -> list[float]:
    """Values to label that lie on the axis: powers of ten and what is between them, or evenly spaced ones."""
    if not scale.log:
        return [tick for tick in nice_ticks(scale.low, scale.high, 4) if scale.low <= tick <= scale.high]
    powers = [10.0**power for power in range(-12, 13)]
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = [step * power for power in powers for step in steps if scale.low <= step * power <= scale.high]
        if len(found) >= 2:
            return found[:: max(1, len(found) // 5)]
    return [scale.low, scale.high]
