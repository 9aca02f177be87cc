"""What the settings ask to be minimised, with how much memory, in how many steps."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Sequence
from pathlib import Path

from sharpen.index.sizes import size_of
from sharpen.losses import LOSSES, Loss, loss_parameters, make_loss
from sharpen.losses.contrastive import LossConfig
from sharpen.training import temperature_increase
from sharpen.training.gradient.activation_budget import ActivationBudget
from sharpen.training.gradient.micro_batch import MicroBatchConfig
from sharpen.training.model.stored_size import stored_size
from sharpen.training.optimization.loop_settings import LoopSettings
from sharpen.training.settings import OF_DISTILLATION, TrainingSettings
from sharpen.training.temperature_increase import TemperatureIncrease


def loss_of(settings: TrainingSettings) -> Loss:
    """The loss of the settings. Raises InputError if it is a class of the user's that cannot be used."""
    arguments = dict(settings.loss_arguments)
    for name in loss_parameters(settings.loss_name) & {*OF_DISTILLATION}:
        arguments.setdefault(name, getattr(settings, name))
    return make_loss(settings.loss_name, arguments)


def objective_of(
    settings: TrainingSettings,
    *,
    normalize: bool,
    increases: Sequence[TemperatureIncrease] = (),
    loss: Loss | None = None,
) -> LossConfig:
    """What is minimised.

    Args:
        settings: the loss, its temperature, margin and dimensions.
        normalize: embeddings have length 1.
        increases: how divergences raised the temperature.
        loss: of the caller's own; None: the one of the settings.
    """
    size = size_of(settings.served_size)
    served = [size.dimension] if size and size.dimension not in (0, *settings.matryoshka_dims) else []
    return LossConfig(
        temperature=temperature_increase.temperature_of(settings, increases),
        loss=loss or loss_of(settings),
        margin=settings.false_negative_margin,
        dims=(*settings.matryoshka_dims, *served),
        normalize=normalize,
        stored=stored_size(settings.served_size),
    )


def identity_of(loss: Loss) -> str | None:
    """What a training with a loss of the user's own depends on: class, arguments and source; None: the loss is ours."""
    if type(loss) in LOSSES.values():
        return None
    kind = type(loss)
    try:
        code = hashlib.sha256(Path(inspect.getsourcefile(kind) or "").read_bytes()).hexdigest()
    except (OSError, TypeError):  # written in a notebook or a shell
        code = ""
    return f"{kind.__module__}:{kind.__qualname__} {sorted(vars(loss).items())} {code}"


def memory_of(settings: TrainingSettings) -> MicroBatchConfig:
    """How much the settings let be encoded at once."""
    budget = ActivationBudget(None if settings.activation_gib is None else settings.activation_gib * 2**30)
    return MicroBatchConfig(settings.micro_batch_tokens, settings.sub_batch_size, settings.gradient_cache, budget)


def steps_of(settings: LoopSettings, per_epoch: int) -> int:
    """Optimiser steps of the whole training."""
    return settings.max_steps if settings.max_steps > 0 else math.ceil(settings.num_train_epochs * per_epoch)
