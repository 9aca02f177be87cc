"""Optimiser and learning rate: transformers' own, but for a warm-up whose first step learns something too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainingArguments, get_scheduler
from transformers.trainer_optimizer import is_optimizer_factory
from transformers.trainer_pt_utils import get_parameter_names

Factor = Callable[[int], float]
"""Steps taken so far -> factor of the highest learning rate."""

# Weights without weight decay, as in transformers' Trainer.
_NO_DECAY = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]
# What replaces the parameter groups for some optimisers of transformers.
_INSTEAD_OF_GROUPS = ("params", "model", "optimizer_dict")


def make_optimizer(model: nn.Module, arguments: TrainingArguments) -> Optimizer:
    """The optimiser that `optim` names, with weight decay for all but biases and norms."""
    decayed = set(get_parameter_names(model, [nn.LayerNorm], _NO_DECAY))
    trained = [(name, weights) for name, weights in model.named_parameters() if weights.requires_grad]
    groups: Any = [
        {
            "params": [weights for name, weights in trained if (name in decayed) == decays],
            "weight_decay": arguments.weight_decay if decays else 0.0,
        }
        for decays in (True, False)
    ]
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments, model)  # type: ignore[arg-type]
    if is_optimizer_factory(kind):
        return kind()(model, **options)
    for name in _INSTEAD_OF_GROUPS:
        groups = options.pop(name, groups)
    return kind(groups, **options)


def make_schedule(optimizer: Optimizer, arguments: TrainingArguments) -> Any:
    """transformers' schedule with a warm-up that begins above 0."""
    warmup = arguments.get_warmup_steps(arguments.max_steps)
    schedule = get_scheduler(
        arguments.lr_scheduler_type,
        optimizer=optimizer,
        num_warmup_steps=warmup,
        num_training_steps=arguments.max_steps,
        scheduler_specific_kwargs=cast(dict[str, Any] | None, arguments.lr_scheduler_kwargs),  # parsed by then
    )
    return rise_from_first_step(schedule, warmup)  # type: ignore[arg-type]


def rise_from_first_step(schedule: LambdaLR, warmup_steps: int) -> LambdaLR:
    """Let step i of a warm-up of w steps (from 0) have (i + 1) / (w + 1) of what the schedule begins with after it.

    transformers' own warm-up gives the first step i / w = 0: a batch is computed and nothing is learned from it. After
    the warm-up the rates stay as they are.

    Args:
        schedule: a new one, of which no step was taken; it is changed in place.
        warmup_steps: steps of rising rate, w.

    Returns:
        The schedule.
    """
    if warmup_steps > 0:
        schedule.lr_lambdas = [_rising(factor, warmup_steps) for factor in schedule.lr_lambdas]
        # the optimiser has the rate of the old first step; a schedule sets it by its initial step
        schedule.last_epoch = -1
        schedule._initial_step()
    return schedule


def _rising(factor: Factor, warmup_steps: int) -> Factor:
    def rising(step: int) -> float:
        return factor(step) if step >= warmup_steps else (step + 1) / (warmup_steps + 1) * factor(warmup_steps)

    return rising
