"""Small pieces of SVG and the scales that charts are drawn with.

Charts stretch with the page but their text and lines do not: widths are percentages, heights are pixels, and curves
lie in a nested drawing whose aspect ratio is free while its strokes keep their width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

STRETCH = 1000.0


def el(tag: str, *children: object, **attributes: object) -> Markup:
    """An element. Text and attribute values are escaped; ``class_`` and ``stroke_width`` become class, stroke-width."""
    written = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("__", ":").replace("_", "-"), _written(value))
        for name, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(tag, written, inside)


def _written(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


@dataclass(frozen=True)
class Scale:
    """A value -> its share of the axis, 0 to 1."""

    low: float
    high: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return (at - low) / (high - low) if high > low else 0.5

    def percent(self, value: float) -> str:
        """Position along the width."""
        return f"{100 * self(value):.3f}%"


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """`about` round values (1, 2 or 5 times a power of ten) that cover [low, high]; the first and last enclose it."""
    if not high > low:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def canvas(title: str, height: int, *children: object, class_: str = "") -> Markup:
    """A full-width drawing, `height` pixels high and of a CSS `class_`; `title` names it for screen readers."""
    return el(
        "svg",
        el("title", title),
        *children,
        class_=f"chart {class_}".strip(),
        width="100%",
        height=height,
        role="img",
        aria_label=title,
    )


def curve(points: Sequence[tuple[float, float]], height: int, class_: str) -> Markup:
    """A line of a CSS `class_` through points given as shares of width and height (height counted from below)."""
    steps = " ".join(f"{x * STRETCH:.1f},{(1 - y) * STRETCH:.1f}" for x, y in points)
    line = el("polyline", points=steps, class_=class_, fill="none", vector_effect="non-scaling-stroke")
    return el(
        "svg",
        line,
        width="100%",
        height=height,
        viewBox=f"0 0 {STRETCH:.0f} {STRETCH:.0f}",
        preserveAspectRatio="none",
        overflow="visible",
    )


def frame(
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    height: int,
) -> Markup:
    """Grid lines and labels of `x_ticks` and `y_ticks`, each (share of the axis, text), on a drawing of a `height`."""
    parts = []
    for share, text in y_ticks:
        y = (1 - share) * height
        parts.append(el("line", x1="0", x2="100%", y1=y, y2=y, class_="grid"))
        parts.append(el("text", text, x=-8, y=y + 4, class_="tick end"))
    for share, text in x_ticks:
        parts.append(el("text", text, x=f"{100 * share:.3f}%", y=height + 18, class_="tick middle"))
    return Markup("").join(parts)


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move label positions (pixels) so that neighbours are at least `gap` apart, within [low, high]."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    moved = list(positions)
    floor = low
    for i in order:
        moved[i] = max(moved[i], floor)
        floor = moved[i] + gap
    ceiling = high
    for i in reversed(order):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - gap
    return moved


def axis(scale: Scale, ticks: Sequence[float], text: Callable[[float], str]) -> list[tuple[float, str]]:
    """Ticks of a scale, written by `text`, as `frame` takes them."""
    return [(scale(value), text(value)) for value in ticks]
