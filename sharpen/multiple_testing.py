"""Many tests at once: p-values corrected so that all of them together err no more often than one."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979), in the given order.

    Rejecting those that are at most a makes a false rejection in at most a share a of all cases, whatever depends on
    what.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, worst = [0.0] * len(p_values), 0.0
    for position, index in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - position) * float(p_values[index])))
        adjusted[index] = worst
    return adjusted
