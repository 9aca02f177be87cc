"""What a step of any training gave, the same on every process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StepResult:
    """A step's outcome.

    Attributes:
        loss: of the global batch.
        rows: of the global batch.
        figures: name -> what the log shows beside the loss.
        stop: some process was told to end.
    """

    loss: float
    rows: int
    figures: Mapping[str, float] = field(default_factory=dict)
    stop: bool = False
