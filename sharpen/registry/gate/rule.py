"""A rule of the gate with its figures, and the decision that rules come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

PROMOTE, REJECT, CANNOT_TELL = "promote", "reject", "cannot tell"

# 0.58 - 0.50 is a little less than 0.08 in floating point
ROUNDING = 1e-9


@dataclass(frozen=True)
class Rule:
    """One rule of the gate.

    Attributes:
        name: what it is.
        holds: whether it holds.
        text: its figures in words.
        value: what was measured; None where the rule compares no number.
        threshold: what it was compared with.
        evidence: whether it asks for enough test data, without which nothing can be told.
        detail: one of many of its kind, which the reasons name only where it fails.
    """

    name: str
    holds: bool
    text: str
    value: float | None = None
    threshold: float | None = None
    evidence: bool = False
    detail: bool = False

    def as_fact(self) -> dict[str, Any]:
        """What gate.json and a version's provenance hold of it."""
        return {"holds": self.holds, "value": self.value, "threshold": self.threshold, "text": self.text}


@dataclass(frozen=True)
class Decision:
    """The gate's answer.

    Attributes:
        verdict: ``promote``, ``reject``, or ``cannot tell``, which promotes nothing either.
        reasons: one line a rule: those that failed, or all that held.
        facts: the reference and every rule, for the provenance of the model.
        figures: the numbers that it rests on: ``promoted`` (0 or 1), ``gain``, ``gain_ci_low``, ``gain_ci_high``,
            ``p_value``, ``queries``, ``groups``.
    """

    verdict: Literal["promote", "reject", "cannot tell"]
    reasons: list[str]
    facts: dict[str, Any]
    figures: dict[str, float]

    @property
    def promoted(self) -> bool:
        """True for ``promote``."""
        return self.verdict == PROMOTE

    @property
    def outcome(self) -> str:
        """What a run does about it: ``promote`` or ``reject``."""
        return PROMOTE if self.promoted else REJECT
