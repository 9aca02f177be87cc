"""Is a drop ruled out? One rule for guarded metrics, slices that are named, and the guard set."""

from __future__ import annotations

from collections.abc import Mapping

from sharpen.registry.gate.rule import ROUNDING, Rule
from sharpen.registry.settings import PromotionSettings


def no_drop(
    name: str, what: str, entry: Mapping[str, float], budget: float, settings: PromotionSettings, level: str
) -> Rule:
    """A drop beyond a budget is ruled out: the lower bound of the difference's interval is not below -budget.

    With `mode` mean the difference itself is not. A test of non-inferiority: any number of such rules needs no
    correction, since a model that is too bad in one of them passes all no more often than that one.

    Args:
        name: of the rule.
        what: what is measured, in words.
        entry: its comparison: ``difference`` and ``ci_low``.
        budget: the drop that is allowed, as a positive number.
        settings: of the gate.
        level: of the interval, such as ``95 %``.
    """
    change, low = entry["difference"], entry["ci_low"]
    value = low if settings.require_significance else change
    holds = value >= -budget - ROUNDING
    text = f"{what}: {change:+.4f}"
    if settings.require_significance:
        wording = "is ruled out" if holds else "is not ruled out"
        text += f", lower bound of the {level} interval {low:+.4f}: a drop beyond {budget:.4f} {wording}"
    else:
        text += f", {'within' if holds else 'beyond'} the allowed drop of {budget:.4f}"
    return Rule(name, holds, text, value=value, threshold=-budget)
