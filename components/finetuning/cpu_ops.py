"""Dropout and embedding look-up that cost a processor less than torch's own, with the same meaning.

Half of a training step of a small BERT on a CPU goes into two things that are no arithmetic of the model: drawing one
Bernoulli number after the other (27 %), and, in each micro-batch, zeroing a gradient as large as the whole embedding
matrix (20 %; MiniLM, bf16, pieces of 1,024 tokens). Here masks are made from 16 random bits an element, and the
embedding's gradient goes straight into the weight's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_LEVELS = 1 << 16


class CpuOps(TorchFunctionMode):
    """A block in which `torch.nn.functional.dropout` and `embedding` on the CPU are those of this file.

    Models need not know: their modules and attention functions call these two by name. A backward pass leaves the block
    while it runs; activations that it recomputes are put back into it by `for_checkpoint`.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if func is functional.dropout:
            return _dropout(*args, **named)
        if func is functional.embedding:
            return _embedding(*args, **named)
        return func(*args, **named)


def for_checkpoint() -> tuple[AbstractContextManager[None], CpuOps]:
    """`torch.utils.checkpoint`'s ``context_fn``: contexts of the first pass, in the block anyway, and of the second."""
    return nullcontext(), CpuOps()


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or not 0.0 < p < 1.0 or inplace or input.device.type != "cpu":
        return functional.dropout(input, p, training, inplace)
    return _Dropout.apply(input, p)  # type: ignore[no-any-return]


def _embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    direct = weight.is_leaf and weight.requires_grad and torch.is_grad_enabled() and weight.device.type == "cpu"
    if not direct or max_norm is not None or scale_grad_by_freq or sparse:
        return functional.embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    return _Embedding.apply(input, weight, padding_idx)  # type: ignore[no-any-return]


class _Dropout(torch.autograd.Function):
    """Zero each element with probability round(65536 p) / 65536, and scale the others so that the mean stays."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, p: float) -> Tensor:
        dropped = min(round(p * _LEVELS), _LEVELS - 1)
        ctx.scale = _LEVELS / (_LEVELS - dropped)
        # The bits come from a seed that torch's generator gives: replaying its state replays the mask.
        seed = int(torch.randint(2**62, (1,)).item())
        words = np.random.SFC64(seed).random_raw(-(-input.numel() // 4))
        bits = torch.from_numpy(words.view(np.int16))[: input.numel()].view(input.shape)
        mask = bits >= dropped - _LEVELS // 2
        ctx.save_for_backward(mask)
        return torch.ops.aten.native_dropout_backward(input, mask, ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return torch.ops.aten.native_dropout_backward(gradients[0], mask, ctx.scale), None


class _Embedding(torch.autograd.Function):
    """Rows of a leaf `weight`, whose gradient is added to ``weight.grad`` in place."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, padding_idx: int | None) -> Tensor:
        ctx.weight, ctx.padding_idx = weight, padding_idx
        ctx.save_for_backward(input)
        return functional.embedding(input, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        (input,) = ctx.saved_tensors
        weight, rows = ctx.weight, input.reshape(-1)
        added = gradients[0].reshape(-1, weight.shape[1]).to(weight.dtype)
        if ctx.padding_idx is not None:
            wanted = rows != ctx.padding_idx % len(weight)
            rows, added = rows[wanted], added[wanted]
        with torch.no_grad():
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            weight.grad.index_add_(0, rows, added)
        return None, None, None
