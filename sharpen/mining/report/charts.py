"""The drawings of the mining report, as inline SVG that follows the page's colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 220, 8, 24, 8


def overlaid_histograms(series: Sequence[tuple[str, str, Mapping[str, Any]]]) -> Markup:
    """Histograms with the same edges over each other, each as shares of its own total.

    Args:
        series: (name, CSS class, ``{"edges", "counts"}``) of each.
    """
    edges = series[0][2]["edges"]
    shares = [[count / max(1, sum(h["counts"])) for count in h["counts"]] for _, _, h in series]
    highest = max((share for row in shares for share in row), default=0) or 1
    step = (WIDTH - 2 * LEFT) / max(1, len(edges) - 1)
    bars = Markup("")
    for (name, kind, histogram), row in zip(series, shares, strict=True):
        for place, (share, count) in enumerate(zip(row, histogram["counts"], strict=True)):
            height = (HEIGHT - BOTTOM - TOP) * share / highest
            bars += Markup(
                '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
            ).format(
                kind,
                LEFT + place * step + 0.5,
                HEIGHT - BOTTOM - height,
                step - 1,
                height,
                f"{name}: {count:,} ({share:.1%}) between {edges[place]:.3f} and {edges[place + 1]:.3f}",
            )
    labels = Markup("")
    for place in range(0, len(edges), 5):
        anchor = "start" if place == 0 else "end" if place == len(edges) - 1 else "middle"
        labels += Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{:.2f}</text>').format(
            LEFT + place * step, HEIGHT - 6, anchor, edges[place]
        )
    line = Markup('<line x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        LEFT, WIDTH - LEFT, HEIGHT - BOTTOM + 0.5, HEIGHT - BOTTOM + 0.5
    )
    said = " and ".join(name for name, _, _ in series)
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="Histogram of {}">{}{}{}</svg>').format(
        WIDTH, HEIGHT, said, bars, line, labels
    )
