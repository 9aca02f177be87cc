"""Trainings one after another: ``python -m ... '[{"data": ...}]' [PROCESSES]``, or in processes of torchrun."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch.distributed as dist

from sharpen.console import enable_logging
from sharpen.errors import Interrupted
from sharpen.training import contrastive
from sharpen.training.gradient.step import Step, gradient_step
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from sharpen.training.watching.dev_watch import DevWatch
from tests.forked import run_group
from tests.sharpen.training.small_data import ENCODER
from tests.sharpen.training.test_temperature_increase import Poison


def slow_step(mark: Path, seconds: float, *arguments: Any) -> Step:
    if not mark.exists():
        # whoever waits for the file reads it at once
        whole = mark.with_name(f".{mark.name}")
        whole.write_text(str(os.getpid()))
        whole.rename(mark)
    time.sleep(seconds)
    return gradient_step(*arguments)


def sigterm_step(step: int, encoder: Any, layout: Any, *rest: Any) -> Step:
    if layout.batch.step + 1 == step and int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return gradient_step(encoder, layout, *rest)


def run_all(trainings: list[dict[str, Any]]) -> None:
    """Run each training: addresses `data`, `model`, `output`, `settings`.

    `diverges` has arguments of `Poison`; `seconds_a_step` makes steps long, the first of which leaves the process's id
    in the file ``MARK-RANK``. `stops_at`: at the first dev score from this step on the first process says to end; every
    process leaves what it was asked and heard in ``OUTPUT-RANK.json``.
    Where `sigterm_at` names a step, the last process gets a SIGTERM in it.
    """
    for one in trainings:
        contrastive.gradient_step = (
            Poison(*one["diverges"][0], **one["diverges"][1]) if "diverges" in one else gradient_step
        )
        if "mark" in one:
            contrastive.gradient_step = partial(
                slow_step, Path(f"{one['mark']}-{os.environ['RANK']}"), one["seconds_a_step"]
            )
        asked: list[int] = []
        watch = DevWatch(partial(_ends_from, asked, one["stops_at"])) if "stops_at" in one else None
        expected: Any = nullcontext()
        if "sigterm_at" in one:
            contrastive.gradient_step = partial(sigterm_step, one["sigterm_at"])
            expected = suppress(Interrupted)
        facts: dict[str, Any] = {}
        try:
            addresses = (one["data"], None, one["model"], one["output"])
            with expected:
                facts = train(*addresses, TrainingSettings.checked(one["settings"]), ENCODER, watch=watch)
        finally:
            contrastive.gradient_step = gradient_step
        if watch is not None:
            heard = {"asked": asked, "stopped": watch.stopped, "steps": facts["steps"]}
            Path(f"{one['output']}-{os.environ.get('RANK', 0)}.json").write_text(json.dumps(heard))


def _ends_from(asked: list[int], at: int, step: int, steps: int, score: float) -> bool:
    asked.append(step)
    return step >= at


if __name__ == "__main__":
    enable_logging()
    if len(sys.argv) > 2:
        run_group(run_all, int(sys.argv[2]), json.loads(sys.argv[1]))
        sys.exit()
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    run_all(json.loads(sys.argv[1]))
    if dist.is_initialized():
        dist.destroy_process_group()
