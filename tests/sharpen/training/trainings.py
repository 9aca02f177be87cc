"""Trainings one after another in the processes that torchrun started: ``python -m ... '[{"data": ...}]'``."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch.distributed as dist

from sharpen.console import enable_logging
from sharpen.training import loop
from sharpen.training.gradient.step import gradient_step
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.sharpen.training.small_data import ENCODER
from tests.sharpen.training.test_temperature_increase import Poison


def run_all(trainings: list[dict[str, Any]]) -> None:
    """Run each training: addresses `data`, `model`, `output`, `settings`, and `diverges`, arguments of `Poison`."""
    for one in trainings:
        loop.gradient_step = Poison(*one["diverges"][0], **one["diverges"][1]) if "diverges" in one else gradient_step
        try:
            train(one["data"], None, one["model"], one["output"], TrainingSettings.checked(one["settings"]), ENCODER)
        finally:
            loop.gradient_step = gradient_step


if __name__ == "__main__":
    enable_logging()
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    run_all(json.loads(sys.argv[1]))
    if dist.is_initialized():
        dist.destroy_process_group()
