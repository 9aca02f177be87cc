"""Optimiser and schedule in a checkpoint, as safetensors and JSON: what comes from a store is never unpickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from sharpen.distributed import shard_of
from sharpen.models.weights import save_tensors

TENSORS = "optimizer.safetensors"
NUMBERS = "optimizer.json"


def save_state(folder: Path, optimizer: Any, scheduler: Any, *, first: bool = True) -> None:
    """Write the states of an optimiser and of a learning-rate schedule.

    Args:
        folder: the checkpoint.
        optimizer: a `torch.optim.Optimizer`, or accelerate's wrapper of one.
        scheduler: a schedule whose state is plain numbers.
        first: as for `save_tensors`.
    """
    state = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        numbers[str(index)] = {}
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                numbers[str(index)][name] = value
    save_tensors(tensors, folder / TENSORS, first=first)
    if first:
        written = {"state": numbers, "param_groups": state["param_groups"], "scheduler": scheduler.state_dict()}
        (folder / NUMBERS).write_text(json.dumps(written), encoding="utf-8")


def load_state(folder: Path, optimizer: Any, scheduler: Any) -> None:
    """Restore `optimizer` and `scheduler`, to the bit, from what `save_state` wrote into `folder`."""
    written = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
    state: dict[int, dict[str, Any]] = {int(index): values for index, values in written["state"].items()}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for key, tensor in load_file(folder / TENSORS).items():
        index, name = key.split(".", 1)
        like = weights[int(index)]
        state[int(index)][name] = shard_of(tensor, like) if tensor.shape == like.shape else tensor
    optimizer.load_state_dict({"state": state, "param_groups": written["param_groups"]})
    scheduler.load_state_dict(written["scheduler"])
