"""The charts of all pages, as inline SVG that follows the page's colours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from sharpen.reports.formatting import number, percent, plain, signed
from sharpen.reports.svg import Scale, axis, canvas, curve, el, frame, nice_ticks, spread


@dataclass(frozen=True)
class Figure:
    """A chart with the heading and the note that stand above it."""

    heading: str
    note: str
    chart: Markup


@dataclass(frozen=True)
class Series:
    """A named line; `role` (``tuned``, ``base``, ``champion``, ``faint``) gives its colour."""

    name: str
    role: str
    points: Sequence[tuple[float, float]]


def interval_scale(intervals: Sequence[tuple[float, float]]) -> Scale:
    """One scale for all interval strips, with 0 in it and a little room at both ends."""
    low = min(0.0, *(low for low, _ in intervals))
    high = max(0.0, *(high for _, high in intervals))
    room = 0.06 * max(high - low, 0.01)
    return Scale(low - room, high + room)


def interval_strip(scale: Scale, low: float, middle: float, high: float, role: str, title: str) -> Markup:
    """A difference (`middle`) and its interval `low` to `high` on a `scale`, coloured by `role`, named by `title`."""
    height, y = 32, 16
    return canvas(
        title,
        height,
        el("line", x1=scale.percent(0), x2=scale.percent(0), y1=0, y2=height, class_="zero"),
        el("line", x1=scale.percent(low), x2=scale.percent(high), y1=y, y2=y, class_=f"span {role}"),
        el("circle", cx=scale.percent(middle), cy=y, r=4.5, class_=f"dot {role}"),
        class_="strip",
    )


def interval_axis(scale: Scale) -> Markup:
    """The labels under the interval strips."""
    inside = [tick for tick in nice_ticks(scale.low, scale.high, 4) if scale.low <= tick <= scale.high]
    texts = [
        el("text", "0" if tick == 0 else signed(tick, 2), x=scale.percent(tick), y=12, class_="tick middle")
        for tick in inside
    ]
    return canvas("Scale of the differences", 16, *texts, class_="strip")


def difference_histogram(differences: Sequence[float], metric: str, bins: int = 10) -> Markup:
    """Queries by their difference of a `metric` in so many `bins`, without unchanged ones; losses left of 0."""
    height = 190
    losses, wins = [0] * bins, [0] * bins
    for value in differences:
        if value:
            side = wins if value > 0 else losses
            side[min(int(abs(value) * bins), bins - 1)] += 1
    ticks = nice_ticks(0, max(*losses, *wins, 1), 4)
    ticks = [tick for tick in ticks if float(tick).is_integer()]
    scale_y, width = Scale(0, ticks[-1]), 50 / bins
    bars = []
    for side, role in ((losses, "loss"), (wins, "win")):
        for i, count in enumerate(side):
            left = 50 + i * width if role == "win" else 50 - (i + 1) * width
            tall = scale_y(count) * height
            low, high = (i / bins, (i + 1) / bins) if role == "win" else (-(i + 1) / bins, -i / bins)
            bars.append(
                el(
                    "rect",
                    el("title", f"{count} queries between {signed(low, 1)} and {signed(high, 1)}"),
                    x=f"{left + 0.25:.2f}%",
                    width=f"{width - 0.5:.2f}%",
                    y=height - tall,
                    height=tall,
                    rx=1.5,
                    class_=role,
                )
            )
    x_ticks = [(share, text) for share, text in ((0, "−1"), (0.25, "−.5"), (0.5, "0"), (0.75, "+.5"), (1, "+1"))]
    title = f"Queries by difference of {metric}: {sum(wins)} gained, {sum(losses)} lost"
    body = [frame(x_ticks, axis(scale_y, ticks, plain), height), *bars]
    middle = el("line", x1="50%", x2="50%", y1=0, y2=height, class_="zero")
    return el("div", canvas(title, height, *body, middle), class_="plot")


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    log_x: bool = False,
    x_ticks: Sequence[float] | None = None,
    from_zero: bool = False,
    top: float | None = None,
    text: Callable[[float], str] = plain,
    end_text: Callable[[float], str] = plain,
    height: int = 230,
    named_ends: bool = True,
    dots: bool = False,
) -> Markup:
    """Lines over a common axis, each named at its end or in a key.

    Args:
        title: what a screen reader says.
        series: the lines, the most important last (it is drawn on top).
        log_x: logarithmic x axis; x must be > 0.
        x_ticks: values to label; round ones by default.
        from_zero: the y axis starts at 0.
        top: highest value that the y axis may show (1 for shares).
        text, end_text: how values are written on the axis, and at the ends of the lines.
        height: pixels of the plot area.
        named_ends: write name and last value at each line; else a key names them, where there are several.
        dots: mark every point.
    """
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    y_ticks = nice_ticks(0 if from_zero else min(ys), max(ys), max(2, height // 55))
    if top is not None:
        y_ticks = [tick for tick in y_ticks if tick <= top]
    scale_y = Scale(y_ticks[0], max(y_ticks[-1], top if top is not None and max(ys) > y_ticks[-1] else y_ticks[-1]))
    scale_x = Scale(min(xs), max(xs), log_x)
    if x_ticks is None:
        x_ticks = [t for t in nice_ticks(scale_x.low, scale_x.high, 5) if scale_x.low <= t <= scale_x.high]
    parts = [frame(axis(scale_x, x_ticks, plain), axis(scale_y, y_ticks, text), height)]
    for one in series:
        parts.append(curve([(scale_x(x), scale_y(y)) for x, y in one.points], height, f"line {one.role}"))
        parts += [
            el("circle", cx=scale_x.percent(x), cy=(1 - scale_y(y)) * height, r=4, class_=f"point {one.role}")
            for x, y in (one.points if dots else ())
        ]
    if named_ends:
        ends = [one for one in series if one.role != "faint"]
        heights = spread([(1 - scale_y(one.points[-1][1])) * height for one in ends], 28, 8, height - 6)
        for one, y in zip(ends, heights, strict=True):
            last = one.points[-1][1]
            parts.append(el("text", one.name, x="100%", dx=10, y=y, class_=f"end-name {one.role}"))
            parts.append(el("text", end_text(last), x="100%", dx=10, y=y + 13, class_="tick"))
    drawn = el("div", canvas(title, height, *parts), class_="plot named" if named_ends else "plot")
    return drawn if named_ends or len(series) < 2 else key([(one.name, one.role) for one in series]) + drawn


def key(names: Sequence[tuple[str, str]]) -> Markup:
    """What the colours of a chart mean: a name for each (name, role)."""
    return el("div", *(el("span", el("i", class_=role), name) for name, role in names), class_="key")


def point_map(
    title: str,
    layers: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    pairs: Sequence[tuple[tuple[float, float], tuple[float, float]]] = (),
    size: int = 300,
) -> Markup:
    """Points of a plane, x and y on one scale.

    Args:
        title: what a screen reader says.
        layers: (CSS classes, points), the last on top.
        pairs: points that a faint line joins.
        size: width and height of the drawing's own units.
    """
    every = [point for _, points in layers for point in points]
    xs, ys = [x for x, _ in every] or [0.0], [y for _, y in every] or [0.0]
    reach = max(max(xs) - min(xs), max(ys) - min(ys)) or 1.0
    middle_x, middle_y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2

    def at(point: tuple[float, float]) -> str:
        x, y = (
            (value - middle) / reach * 0.96 + 0.5 for value, middle in zip(point, (middle_x, middle_y), strict=True)
        )
        return f"{size * x:.1f} {size * (1 - y):.1f}"

    # a path of zero-length strokes with round ends: the shortest form of many dots
    joined = el("path", d="".join(f"M{at(one)}L{at(other)}" for one, other in pairs), class_="pair") if pairs else ""
    dots = [
        el("path", d="".join(f"M{at(point)}h0" for point in points), class_=classes)
        for classes, points in layers
        if points
    ]
    return el(
        "svg",
        el("title", title),
        joined,
        *dots,
        class_="map",
        viewBox=f"0 0 {size} {size}",
        role="img",
        aria_label=title,
    )


def histogram(title: str, series: Sequence[tuple[str, str, Mapping[str, Any]]], height: int = 200) -> Markup:
    """Histograms with the same edges over each other, each bar a share of its own series.

    Args:
        title: what a screen reader says.
        series: (name, role, ``{"edges": n + 1 numbers, "counts": n numbers}``) of each; the roles ``positive`` and
            ``negative`` have colours.
        height: pixels of the plot area.
    """
    edges = series[0][2]["edges"]
    width = 100 / max(len(edges) - 1, 1)
    shares = [[count / max(1, sum(h["counts"])) for count in h["counts"]] for *_, h in series]
    scale_y = Scale(0, max(share for row in shares for share in row) or 1)
    parts: list[Markup] = [el("line", x1="0", x2="100%", y1=height, y2=height, class_="grid")]
    for (name, role, found), row in zip(series, shares, strict=True):
        for i, (share, count) in enumerate(zip(row, found["counts"], strict=True)):
            text = f"{name}: {count:,} ({share:.1%}) between {plain(edges[i])} and {plain(edges[i + 1])}"
            tall = scale_y(share) * height
            x, wide = f"{(i + 0.04) * width:.3f}%", f"{0.92 * width:.3f}%"
            parts.append(
                el("rect", el("title", text), x=x, width=wide, y=height - tall, height=tall, rx=1.5, class_=role)
            )
    parts += [
        el("text", plain(value), x=f"{100 * share:.3f}%", y=height + 18, class_="tick middle")
        for share, value in _edge_ticks(edges)
    ]
    names = key([(name, role) for name, role, _ in series])
    return names + el("div", canvas(title, height, *parts), class_="plot flush")


def _edge_ticks(edges: Sequence[float]) -> list[tuple[float, float]]:
    """(share of the width, value) of a histogram's labels: round values, or where bins differ in width some edges."""
    low, high, bins = edges[0], edges[-1], len(edges) - 1
    step = (high - low) / max(bins, 1)
    even = all(abs(edge - low - i * step) <= 0.01 * step for i, edge in enumerate(edges))
    if not even or not high > low:
        return [(i / max(bins, 1), round(edges[i], 2)) for i in range(0, len(edges), 5)]
    return [((tick - low) / (high - low), tick) for tick in nice_ticks(low, high, 5) if low <= tick <= high]


def count_table(rows: Sequence[tuple[str, int | None, float]], what: str = "") -> Markup:
    """A row with a bar for each (name, count or None, share from 0 to 1); `what` is counted, text after the share."""
    if not rows:
        return el("p", "none", class_="small")
    written = [
        el(
            "tr",
            el("th", name, scope="row"),
            el("td", f"{count:,}", class_="num") if count is not None else "",
            el("td", f"{percent(share)} {what}".rstrip(), class_="num"),
            el("td", el("span", el("i", style=f"width:{100 * share:.2f}%", class_="tuned"), class_="track")),
        )
        for name, count, share in rows
    ]
    return el("table", *written, class_="counts")


def split_bar(parts: Sequence[tuple[str, str, int]]) -> Markup:
    """One bar cut into (name, class, count) parts by their counts, with its key."""
    bar = [el("i", class_=role, style=f"flex:{count}") for _, role, count in parts]
    names = key([(f"{count:,} {name}", role) for name, role, count in parts])
    return el("div", *bar, class_="moved", aria_hidden="true") + names


def score_bars(scores: Sequence[tuple[str, str, float]]) -> Markup:
    """A thin bar from 0 to 1 for each (name, role, score)."""
    rows = [
        el(
            "div",
            el("span", name, class_="who"),
            el("span", el("i", style=f"width:{100 * min(max(score, 0), 1):.2f}%", class_=role), class_="track"),
            el("b", number(score)),
            class_="bar",
        )
        for name, role, score in scores
    ]
    return el("div", *rows, class_="bars")
