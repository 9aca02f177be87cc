"""Trainings one after another in the processes that torchrun started: ``python -m ... '[{"data": ...}]'``."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch.distributed as dist

from components.finetuning import trainer
from components.finetuning.settings import TrainingSettings
from components.finetuning.step import gradient_step
from components.finetuning.train import train
from tests.components.finetuning.small_data import ENCODER
from tests.components.finetuning.test_softening import Poison


def run_all(trainings: list[dict[str, Any]]) -> None:
    """Run each training: addresses `data`, `model`, `output`, `settings`, and `diverges`, arguments of `Poison`."""
    for one in trainings:
        trainer.gradient_step = (
            Poison(*one["diverges"][0], **one["diverges"][1]) if "diverges" in one else gradient_step
        )
        try:
            train(one["data"], None, one["model"], one["output"], TrainingSettings.checked(one["settings"]), ENCODER)
        finally:
            trainer.gradient_step = gradient_step


if __name__ == "__main__":
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    run_all(json.loads(sys.argv[1]))
    if dist.is_initialized():
        dist.destroy_process_group()
