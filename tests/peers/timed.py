"""Run a training with a clock on every optimiser step: ``python timed.py OUT.json MODULE_OR_FILE ARGUMENTS``.

Every trainer that is compared calls transformers' callbacks, so that one of them times all alike. A step lasts from the
end of the step before it, so that reading, tokenising and padding its batch count. Runs in the environments
of the peers too: it imports nothing of this repository.
"""

from __future__ import annotations

import importlib.metadata
import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import CallbackHandler

_PACKAGES = ("torch", "transformers", "sentence-transformers", "FlagEmbedding")


class Clock(TrainerCallback):
    """Writes the wall and CPU seconds of each step, the logged losses, and memory: of the process, and of training."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.losses: list[float] = []

    def on_train_begin(self, *_: object, **__: object) -> None:
        self.peak_before = _status("VmHWM")
        # Linux begins the high-water mark anew, at what is resident now.
        Path("/proc/self/clear_refs").write_text("5")
        self.resident_before = _status("VmRSS")
        self.last = time.perf_counter(), time.process_time()

    def on_step_end(self, *_: object, **__: object) -> None:
        now = time.perf_counter(), time.process_time()
        self.seconds.append(now[0] - self.last[0])
        self.cpu_seconds.append(now[1] - self.last[1])
        self.last = now

    def on_log(self, *_: object, logs: dict[str, float], **__: object) -> None:
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))

    def on_train_end(self, *_: object, **__: object) -> None:
        peak = _status("VmHWM")
        facts = {
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "losses": self.losses,
            "peak_gib": max(self.peak_before, peak),
            "before_training_gib": self.resident_before,
            "peak_in_training_gib": peak,
            "gpu_peak_gib": torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None,
            "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        }
        self.target.write_text(json.dumps(facts))


def _status(name: str) -> float:
    """A size in GiB that the kernel tells of this process. `getrusage` would count the process that started it too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 2**20


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def main() -> None:
    target, program, *arguments = sys.argv[1:]
    original = CallbackHandler.__init__

    def with_clock(self: CallbackHandler, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.add_callback(Clock(Path(target)))

    CallbackHandler.__init__ = with_clock  # type: ignore[method-assign]
    sys.argv = [program, *arguments]
    if program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
