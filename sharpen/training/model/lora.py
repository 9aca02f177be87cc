"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) through peft: few weights are trained, the others stay."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import torch

from sharpen.errors import InputError
from sharpen.models.encoder import Encoder
from sharpen.training.model import quantized
from sharpen.training.settings import TrainingSettings

EXTRA = "sharpen[lora]"


def faults(settings: TrainingSettings) -> list[str]:
    """A line when adapters are set and peft is not installed."""
    if settings.lora_rank and importlib.util.find_spec("peft") is None:
        return [f"lora_rank: adapters need the package peft; pip install '{EXTRA}', or set lora_rank to 0"]
    return []


def add_adapters(encoder: Encoder, settings: TrainingSettings) -> None:
    """Give every tower adapters and freeze the rest.

    The adapters are drawn from the seed, so they are the same on every process.

    Raises:
        InputError: the model has no layer of a name in `lora_target_modules`.
    """
    from peft import LoraConfig, get_peft_model

    names = settings.lora_target_modules
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        for kind, tower in encoder.towers.items():
            config = LoraConfig(
                r=settings.lora_rank,
                lora_alpha=settings.lora_alpha,  # type: ignore[arg-type]
                lora_dropout=settings.lora_dropout,
                target_modules="all-linear" if names == ["all-linear"] else list(names),
            )
            try:
                with warnings.catch_warnings():
                    # peft asks transformers under a name that it will drop.
                    warnings.simplefilter("ignore", FutureWarning)
                    adapted = get_peft_model(tower, config)
            except ValueError as error:
                raise InputError(f"lora_target_modules: {names}: {str(error).splitlines()[0]}") from None
            encoder.set_tower(kind, adapted)


def merge_adapters(encoder: Encoder, quantize_base: str = "none") -> None:
    """Add the adapters to the weights that they adapt; the towers are plain transformers models again.

    Args:
        encoder: with adapters.
        quantize_base: see `TrainingSettings`.
    """
    for kind, tower in encoder.towers.items():
        if quantize_base != "none":
            quantized.dequantize(tower)
        encoder.set_tower(kind, tower.merge_and_unload(safe_merge=True))


def described(encoder: Encoder) -> dict[str, Any]:
    """The adapters for ``training.json``, with the layers that have one."""
    config = encoder.model.peft_config["default"]
    return {
        "type": "lora",
        "rank": config.r,
        "alpha": config.lora_alpha,
        "dropout": config.lora_dropout,
        "target_modules": sorted(config.target_modules),
    }
