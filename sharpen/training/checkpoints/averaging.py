"""The mean of a run's last checkpoints (Izmailov et al. 2018, arXiv 1803.05407, with the schedule as it is)."""

from __future__ import annotations

import logging

import torch
from safetensors.torch import load_file

from sharpen.distributed import ProcessGroup
from sharpen.models.encoder import Encoder
from sharpen.training.checkpoints.checkpoints import Checkpoints
from sharpen.training.checkpoints.loop_state import WEIGHTS
from sharpen.training.model.encoder_setup import restore_on_all

logger = logging.getLogger(__name__)


def average(encoder: Encoder, checkpoints: Checkpoints, count: int, exchange: ProcessGroup) -> dict[str, list[int]]:
    """Give the encoder the mean of the trained weights of the last checkpoints, on every process.

    Args:
        encoder: that was trained, adapters not yet merged.
        checkpoints: of the run, the last step's among them.
        count: how many; 0: the encoder stays as it is.
        exchange: the processes.

    Returns:
        For ``training.json`` the steps of the checkpoints, nothing for a `count` of 0; fewer than asked for, and a
        warning, where a run was moved to another machine and only its newest checkpoint with it.
    """
    if not count:
        return {}
    steps: list[int] = []
    mean: dict[str, torch.Tensor] | None = None
    if exchange.rank == 0:
        steps = sorted(checkpoints.steps())[-count:]
        if len(steps) < count:
            logger.warning(f"note: average_checkpoints: {len(steps)} of {count} checkpoints are there")
        total: dict[str, torch.Tensor] = {}
        for step in steps:
            for name, weight in load_file(checkpoints.path(step) / WEIGHTS).items():
                total[name] = total[name] + weight.double() if name in total else weight.double()
        mean = {name: (weight / len(steps)).float() for name, weight in total.items()}
    restore_on_all(encoder, mean, exchange)
    return {"averaged_steps": exchange.broadcast_object(steps)}
