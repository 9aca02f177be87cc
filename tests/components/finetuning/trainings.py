"""Trainings one after another in the processes that torchrun started: ``python -m ... '[{"data": ...}]'``."""

from __future__ import annotations

import json
import os
import sys

import torch.distributed as dist

from components.finetuning.settings import TrainingSettings
from components.finetuning.train import train
from tests.components.finetuning.small_data import ENCODER

if __name__ == "__main__":
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    for one in json.loads(sys.argv[1]):
        train(one["data"], None, one["model"], one["output"], TrainingSettings.checked(one["settings"]), ENCODER)
    if dist.is_initialized():
        dist.destroy_process_group()
