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
FILE = "temperature_increases.json"


@dataclasses.dataclass(frozen=True)
class TemperatureIncrease:
    """The step that diverged, from 1; the temperature of it and of what followed; what was not finite."""

    step: int
    temperature_before: float
    temperature_after: float
    reason: str

    def describe(self) -> str:
        """In a line."""
        change = f"temperature {self.temperature_before:g} -> {self.temperature_after:g}"
        return f"step {self.step}: {change} ({self.reason})"


def temperature_of(settings: TrainingSettings, increases: Sequence[TemperatureIncrease]) -> float:
    """The temperature that holds after these increases."""
    return increases[-1].temperature_after if increases else settings.temperature


def next_increases(
    fault: DivergenceError, settings: TrainingSettings, increases: Sequence[TemperatureIncrease]
) -> list[TemperatureIncrease]:
    """The increases with the one that answers a divergence; raises the fault when the settings allow no more."""
    if settings.on_divergence == "stop" or len(increases) >= settings.max_temperature_increases:
        raise fault
    before = temperature_of(settings, increases)
    return [*increases, TemperatureIncrease(fault.step, before, FACTOR * before, fault.reason)]


def save(folder: Path, increases: Sequence[TemperatureIncrease]) -> None:
    """Write into a checkpoint what had happened before it."""
    (folder / FILE).write_text(json.dumps(as_facts(increases)), encoding="utf-8")


def load(folder: Path) -> list[TemperatureIncrease]:
    """What `save` wrote."""
    return [TemperatureIncrease(**values) for values in json.loads((folder / FILE).read_text(encoding="utf-8"))]


def as_facts(increases: Sequence[TemperatureIncrease]) -> list[dict[str, Any]]:
    """For ``training.json``."""
    return [dataclasses.asdict(increase) for increase in increases]
