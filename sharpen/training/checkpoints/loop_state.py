"""The files of a checkpoint: all that a training needs to go on to the bit.

Random states are not among them: every step has a seed of its own.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from safetensors.torch import load_file
from transformers import TrainerState
from transformers.trainer_callback import ExportableState

from sharpen.models.weights import save_tensors
from sharpen.training.checkpoints import arithmetic
from sharpen.training.checkpoints.checkpoints import STATE
from sharpen.training.checkpoints.optimizer_state import load_state, save_state
from sharpen.training.model.encoder_setup import restore, trained_weights

if TYPE_CHECKING:
    from sharpen.training.loop import TrainingLoop

WEIGHTS = "model.safetensors"
# what a step leaves to later ones: losses for the next point of the log, an evaluation that is due
REMAINDER = "remainder.json"


@dataclasses.dataclass(frozen=True)
class StepMetrics:
    """One step: loss, gradient norm, learning rate, and the figures of its objective."""

    loss: float
    gradient_norm: float
    learning_rate: float
    figures: dict[str, float]


def save(loop: TrainingLoop, folder: Path, owes_evaluation: bool) -> None:
    """Write the files: the first process does, and where weights are in shards, the others give theirs.

    Args:
        loop: the training.
        folder: of the checkpoint.
        owes_evaluation: its step is still to be evaluated.
    """
    first = loop.exchange.rank == 0
    if first:
        folder.mkdir(parents=True, exist_ok=True)
    elif not loop.encoder.sharded:
        return
    save_tensors(trained_weights(loop.model), folder / WEIGHTS, first=first)
    save_state(folder, loop.optimizer, loop.schedule, first=first)
    if not first:
        return
    loop.objective.save(folder)
    arithmetic.save(folder, loop.encoder)
    states = {type(one).__name__: one.state() for one in loop.callbacks.callbacks if isinstance(one, ExportableState)}
    loop.state.stateful_callbacks = cast(Any, states)  # declared as the list that they are made from
    loop.state.save_to_json(os.fspath(folder / STATE))
    unlogged = [dataclasses.asdict(metrics) for metrics in loop.unlogged]
    remainder = {"unlogged": unlogged, "owes_evaluation": owes_evaluation}
    (folder / REMAINDER).write_text(json.dumps(remainder), encoding="utf-8")


def load(loop: TrainingLoop, folder: Path) -> bool:
    """Take over what `save` wrote; trackers and processes stay those of this run.

    Returns:
        Whether the checkpoint's step is still to be evaluated.
    """
    restore(loop.model, load_file(folder / WEIGHTS))
    load_state(folder, loop.optimizer, loop.schedule)
    written = TrainerState.load_from_json(os.fspath(folder / STATE))
    for name in ("global_step", "epoch", "log_history", "best_metric", "best_global_step"):
        setattr(loop.state, name, getattr(written, name))
    if written.best_global_step is not None:
        # the path that was written is that of the machine which wrote it
        loop.state.best_model_checkpoint = os.fspath(loop.checkpoints.path(written.best_global_step))
    states = cast(dict[str, Any], written.stateful_callbacks or {})
    for callback in loop.callbacks.callbacks:
        if isinstance(callback, ExportableState) and type(callback).__name__ in states:
            vars(callback).update(states[type(callback).__name__]["attributes"])
    remainder = json.loads((folder / REMAINDER).read_text(encoding="utf-8"))
    loop.unlogged = [StepMetrics(**metrics) for metrics in remainder["unlogged"]]
    return remainder["owes_evaluation"]
