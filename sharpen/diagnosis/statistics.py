"""The little statistics of the causes, without numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_Z = 1.959964  # of a two-sided interval of 95 %


def share_bounds(count: float, of: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; (0, 1) of nothing."""
    if of <= 0:
        return 0.0, 1.0
    share, square = count / of, _Z * _Z
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = _Z * math.sqrt(share * (1 - share) / of + square / (4 * of * of)) / (1 + square / of)
    return max(0.0, middle - half), min(1.0, middle + half)


def thirds(values: Sequence[float]) -> tuple[float, float, float]:
    """Means of the first, middle and last third; of fewer than three values nothing is made: NaN."""
    if len(values) < 3:
        return math.nan, math.nan, math.nan
    size = len(values) // 3
    first, last = values[:size], values[-size:]
    middle = values[size : len(values) - size]
    return sum(first) / size, sum(middle) / len(middle), sum(last) / size


def share_above(upper: Mapping[str, Any], lower: Mapping[str, Any]) -> float:
    """Of two histograms with equal edges, how often a draw of the first is above one of the second; ties are halves."""
    if upper["edges"] != lower["edges"]:
        return math.nan
    total, below = sum(upper["counts"]) * sum(lower["counts"]), 0.0
    seen = 0
    for high, low in zip(upper["counts"], lower["counts"], strict=True):
        below += high * (seen + low / 2)
        seen += low
    return below / total if total else math.nan
