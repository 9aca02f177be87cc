"""How many steps fit into the time that a training may take: its first steps are tried, without changing a weight."""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from pathlib import Path
from typing import Any

from sharpen.distributed import ProcessGroup
from sharpen.hardware.thread_pool import one_thread
from sharpen.losses.contrastive import LossConfig
from sharpen.models.encoder import Encoder
from sharpen.training.data.collator import ShardedBatch
from sharpen.training.gradient.micro_batch import MicroBatchConfig
from sharpen.training.gradient.step import gradient_step

FILE = "time_limit.json"
# Steps that are tried; the first one, which has memory to get and code to compile, is not counted.
_TRIED = 4
# Of the time, what the trial may take at most, and what is left for optimiser, logs and checkpoints.
_SHARE_TO_TRY, _SHARE_TO_KEEP = 0.2, 0.05


@dataclasses.dataclass(frozen=True)
class Fit:
    """What was decided.

    Attributes:
        minutes: that the training may take.
        steps: that it has.
        steps_requested: that it would have without a limit.
        seconds_a_step: as measured.
    """

    minutes: float
    steps: int
    steps_requested: int
    seconds_a_step: float

    def described(self) -> str:
        """In a line."""
        return (
            f"max_train_minutes {self.minutes:g}: a step takes {self.seconds_a_step:.2f} s on this machine, so "
            f"{self.steps:,} of {self.steps_requested:,} steps are trained"
        )


def fitted(
    minutes: float,
    requested: int,
    encoder: Encoder,
    first: list[ShardedBatch],
    objective: LossConfig,
    memory: MicroBatchConfig,
    e: ProcessGroup,
) -> Fit:
    """Try the first steps; every process decides as the first, which waits for the slowest in each.

    Args:
        minutes: that the training may take, the trial included.
        requested: steps without a limit.
        encoder: as it will be trained; no weight changes.
        first: this process's parts of the first steps.
        objective, memory: as for the steps themselves.
        e: the processes.
    """
    began, seconds = time.monotonic(), []
    with one_thread(encoder.device):
        for layout in first:
            started = time.monotonic()
            encoder.train()
            gradient_step(encoder, layout, objective, memory, e)
            encoder.zero_grad()
            seconds.append(time.monotonic() - started)
            if e.broadcast_object(time.monotonic() - began > _SHARE_TO_TRY * 60 * minutes):
                break
    usual = e.broadcast_object(statistics.median(seconds[1:] or seconds))
    left = (1 - _SHARE_TO_KEEP) * 60 * minutes - e.broadcast_object(time.monotonic() - began)
    return Fit(minutes, max(1, min(requested, int(left / usual))), requested, usual)


def tried(requested: int) -> range:
    """The steps to try."""
    return range(min(requested, _TRIED))


def save(folder: Path, fit: Fit | None) -> None:
    """Write it into a checkpoint."""
    if fit is not None:
        (folder / FILE).write_text(json.dumps(dataclasses.asdict(fit)), encoding="utf-8")


def load(folder: Path) -> Fit | None:
    """What `save` wrote."""
    path = folder / FILE
    return Fit(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def as_facts(fit: Fit | None) -> dict[str, Any] | None:
    """As ``training.json`` has it."""
    return None if fit is None else {**dataclasses.asdict(fit), "described": fit.described()}
