"""Losses of dense retrieval. A new one is a subclass of `Loss` in a file here, and a line in `LOSSES`."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from sharpen.errors import InputError
from sharpen.losses.base import Loss, ScoreBlock
from sharpen.losses.cosent import CoSENT
from sharpen.losses.distillation import KLDistillation, M3Distillation
from sharpen.losses.gist_embed import GISTEmbed
from sharpen.losses.infonce import InfoNCE
from sharpen.losses.margin_mse import MarginMSE

LOSSES: dict[str, type[Loss]] = {
    "infonce": InfoNCE,
    "kl_div": KLDistillation,
    "m3_kd_loss": M3Distillation,
    "margin_mse": MarginMSE,
    "gist_embed": GISTEmbed,
    "cosent": CoSENT,
}
"""Name in the setting `loss` -> its class."""


def make_loss(name: str, arguments: dict[str, Any]) -> Loss:
    """The loss of a name in `LOSSES`, or of a user's class.

    Args:
        name: a key of `LOSSES`, or ``package.module:Name`` of a subclass of `Loss`.
        arguments: of its constructor.

    Raises:
        InputError: there is no such loss, or it does not take the arguments.
    """
    try:
        kind = LOSSES[name] if name in LOSSES else _imported(name)
        loss = kind(**arguments)
    except (ImportError, AttributeError) as error:
        raise InputError(f"loss: {name} cannot be imported: {error}") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"loss_arguments: {name} does not take {arguments}: {error}") from None
    if not isinstance(loss, Loss):
        raise InputError(f"loss: {name} is no subclass of sharpen.losses.Loss")
    return loss


def loss_parameters(name: str) -> frozenset[str]:
    """The arguments of a loss of `LOSSES`, by its name; none for a user's class, which is not imported."""
    return frozenset(inspect.signature(LOSSES[name]).parameters) if name in LOSSES else frozenset()


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


__all__ = ["LOSSES", "Loss", "ScoreBlock", "loss_parameters", "make_loss"]
