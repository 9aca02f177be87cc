"""Run a training module with a clock on every optimiser step: ``python timed.py OUT.json MODULE ARGUMENTS``.

Every trainer that is compared is a subclass of transformers' `Trainer`, so one callback times them all alike. The
file gets the seconds of each step and the process's peak memory.
"""

from __future__ import annotations

import json
import resource
import runpy
import sys
import time
from pathlib import Path

import transformers
from transformers import TrainerCallback


class Clock(TrainerCallback):
    """Notes when each step began and ended."""

    def __init__(self, target: Path) -> None:
        self.target, self.seconds, self.losses = target, [], []

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.start = time.perf_counter()

    def on_step_end(self, *_: object, **__: object) -> None:
        self.seconds.append(time.perf_counter() - self.start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        self.target.write_text(json.dumps({"seconds": self.seconds, "peak_gib": peak, "losses": self.losses}))

    def on_log(self, args: object, state: object, control: object, logs: dict[str, float], **__: object) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])


def main() -> None:
    target, module, *arguments = sys.argv[1:]
    original = transformers.Trainer.__init__

    def with_clock(self: transformers.Trainer, *args: object, **kwargs: object) -> None:
        original(self, *args, **kwargs)  # type: ignore[arg-type]
        self.add_callback(Clock(Path(target)))

    transformers.Trainer.__init__ = with_clock  # type: ignore[method-assign]
    sys.argv = [module, *arguments]
    if module.endswith(".py"):
        runpy.run_path(module, run_name="__main__")
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
