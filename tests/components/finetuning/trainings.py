"""Trainings one after another in the processes that torchrun started: ``python -m ... '[{"data": ...}]'``."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch.distributed as dist

from components.finetuning.settings import TrainingSettings
from components.finetuning.train import train
from tests.components.finetuning.small_data import ENCODER


def run_all(trainings: list[dict[str, Any]]) -> None:
    """Run each training: addresses `data`, `model`, `output`, and `settings`."""
    for one in trainings:
        train(one["data"], None, one["model"], one["output"], TrainingSettings.checked(one["settings"]), ENCODER)


if __name__ == "__main__":
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    run_all(json.loads(sys.argv[1]))
    if dist.is_initialized():
        dist.destroy_process_group()
