"""Going on with a higher temperature after a training diverged."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sharpen.training.divergence import DivergenceError
from sharpen.training.settings import TrainingSettings

FACTOR = 2.0
FILE = "softenings.json"


@dataclasses.dataclass(frozen=True)
class TemperatureIncrease:
    """The step that diverged, from 1; the temperature of it and of what followed; what was not finite."""

    step: int
    temperature_before: float
    temperature_after: float
    reason: str

    def told(self) -> str:
        """In a line."""
        change = f"temperature {self.temperature_before:g} -> {self.temperature_after:g}"
        return f"step {self.step}: {change} ({self.reason})"


def temperature_of(settings: TrainingSettings, softenings: Sequence[TemperatureIncrease]) -> float:
    """The temperature that holds after these softenings."""
    return softenings[-1].temperature_after if softenings else settings.temperature


def softened(
    fault: DivergenceError, settings: TrainingSettings, softenings: Sequence[TemperatureIncrease]
) -> list[TemperatureIncrease]:
    """The softenings with the one that answers a divergence; raises the fault when the settings allow no more."""
    if settings.on_divergence == "stop" or len(softenings) >= settings.max_softenings:
        raise fault
    before = temperature_of(settings, softenings)
    return [*softenings, TemperatureIncrease(fault.step, before, FACTOR * before, fault.reason)]


def save(folder: Path, softenings: Sequence[TemperatureIncrease]) -> None:
    """Write into a checkpoint what had happened before it."""
    (folder / FILE).write_text(json.dumps(as_facts(softenings)), encoding="utf-8")


def load(folder: Path) -> list[TemperatureIncrease]:
    """What `save` wrote."""
    return [TemperatureIncrease(**values) for values in json.loads((folder / FILE).read_text(encoding="utf-8"))]


def as_facts(softenings: Sequence[TemperatureIncrease]) -> list[dict[str, Any]]:
    """For ``training.json``."""
    return [dataclasses.asdict(softening) for softening in softenings]
