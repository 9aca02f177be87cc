"""What may be wrong with a run: one cause with its figures and the setting to change."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["harm", "doubt", "limit"]
Sure = Literal["certain", "likely", "possible"]
SURE: dict[Sure, float] = {"certain": 1.0, "likely": 0.7, "possible": 0.4}
"""How much a degree of certainty weighs."""


@dataclass(frozen=True)
class Change:
    """A setting to change.

    Attributes:
        setting: its full name, such as ``training.learning_rate``.
        value: what to set it to, as it is typed after ``--set``.
        effect: what that does, where the value alone does not say it.
    """

    setting: str
    value: str
    effect: str = ""

    @property
    def assignment(self) -> str:
        """As a shell takes it after ``--set``."""
        return shlex.quote(f"{self.setting}={self.value}")


@dataclass(frozen=True)
class Finding:
    """One cause.

    Attributes:
        cause: its name, of a few words.
        evidence: what shows it, with figures.
        sure: ``certain`` where the figures prove it, ``likely``, or ``possible``.
        weight: how much it can matter, 0 to 1, were it sure.
        kind: ``harm`` makes a model worse; ``doubt`` makes its figures unreliable; ``limit``: nothing is wrong, but
            more is possible.
        changes: settings to change.
        figures: the numbers of the evidence, by name.
        advice: what else to do; empty: the changes are enough.
    """

    cause: str
    evidence: str
    sure: Sure
    weight: float
    kind: Kind
    changes: tuple[Change, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    advice: str = ""

    @property
    def rank(self) -> float:
        """By which findings are sorted: weight times certainty."""
        return self.weight * SURE[self.sure]

    @property
    def command(self) -> str:
        """The run that tries the changes; empty where there is no setting to change."""
        return f"sharpen run ... {' '.join(f'--set {one.assignment}' for one in self.changes)}" if self.changes else ""
