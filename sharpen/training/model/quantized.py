"""QLoRA (Dettmers et al. 2023, arXiv 2305.14314): adapters beside weights of 4 bits, through bitsandbytes.

The linear layers of a transformer are stored as NF4 with a float32 scale for 64 weights, 4.5 bits a weight; nothing of
them is trained but the adapters. What is saved is the model that was trained: the weights that 4 bits give, adapters
added, in float32. The float weights of the base were never seen by the adapters, and would make another model.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor, nn

from sharpen.training.settings import TrainingSettings

EXTRA = "sharpen[qlora]"
# Weights with one scale. bitsandbytes reads rows that are no multiple of it with wrong scales on a CPU.
BLOCK = 64


def faults(settings: TrainingSettings) -> list[str]:
    """A line when weights of 4 bits are set and bitsandbytes is not installed."""
    if settings.quantize_base != "none" and importlib.util.find_spec("bitsandbytes") is None:
        return [
            f"quantize_base: {settings.quantize_base} needs the package bitsandbytes; pip install '{EXTRA}', or set it "
            "to none"
        ]
    return []


def quantize(model: nn.Module) -> None:
    """Store the linear layers of a transformers model, loaded in float32, in 4 bits; biases stay as they are.

    So do layers that their model wants in float32, such as one of T5 that looks at the type of its weights, and those
    whose rows are no multiple of `BLOCK`.
    """
    from bitsandbytes.nn import Linear4bit, Params4bit  # type: ignore[import-not-found]

    whole = getattr(model, "_keep_in_fp32_modules", None) or ()
    for parent, name, layer in _layers(model, nn.Linear):
        if name in whole or layer.in_features % BLOCK:
            continue
        with torch.device("meta"):
            small = Linear4bit(layer.in_features, layer.out_features, layer.bias is not None, quant_type="nf4")
        # computed in the type of what comes in, which autocast decides, on a CPU in evaluation as in training
        small.compute_type_is_set, small.support_avx512bf16_for_cpu = True, False
        options = {"quant_type": "nf4", "compress_statistics": False, "module": small}
        weight = Params4bit(layer.weight.detach(), requires_grad=False, **options)
        small.weight, small.bias = weight.to(layer.weight.device), layer.bias
        setattr(parent, name, small.train(layer.training))


def dequantize(model: nn.Module) -> None:
    """Make layers of 4 bits linear layers in float32 again, with the weights that they computed with."""
    from bitsandbytes.nn import Linear4bit  # type: ignore[import-not-found]

    for parent, name, small in _layers(model, Linear4bit):
        with torch.device("meta"):
            layer = nn.Linear(small.in_features, small.out_features, small.bias is not None)
        layer.weight = nn.Parameter(float_weight(small), requires_grad=False)
        layer.bias = small.bias
        setattr(parent, name, layer.train(small.training))


def float_weight(layer: Any) -> Tensor:
    """The weights (out x in, float32) of a layer of 4 bits."""
    from bitsandbytes.functional import dequantize_4bit  # type: ignore[import-not-found]

    return dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()


def weight_count(weight: Tensor) -> int:
    """Numbers in a weight, of which 4-bit storage holds two in a byte."""
    state = getattr(weight, "quant_state", None)
    return weight.numel() if state is None else state.shape.numel()


def _layers(model: nn.Module, kind: type[nn.Module]) -> list[tuple[nn.Module, str, Any]]:
    """Parent, name in it, and layer, of all layers of exactly that class."""
    return [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is kind
    ]
