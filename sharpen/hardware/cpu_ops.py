"""Dropout and embedding look-up that cost a processor less than torch's own, with the same meaning.

Half of a training step of a small BERT on a CPU goes into two things that are no arithmetic of the model: drawing one
Bernoulli number after the other (27 %), and, in each micro-batch, zeroing a gradient as large as the whole embedding
matrix (20 %; MiniLM, bf16, pieces of 1,024 tokens). Here masks are made from 16 random bits an element, and the
embedding's gradient goes straight into the weight's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_LEVELS = 1 << 16

# Rows of an embedding and their gradients, for the weight that they are rows of.
RowGradients = list[tuple[Tensor, Tensor, Tensor]]


@dataclass
class RandomStream:
    """Random bits that depend on nothing but a seed and on how often they were drawn from.

    Threads that compute side by side draw from their own, so that who comes first changes nothing.
    """

    seed: tuple[int, ...]
    count: int = 0

    def bit_generator(self) -> np.random.SFC64:
        """A new stream of bits."""
        self.count += 1
        return np.random.SFC64([*self.seed, self.count])

    def replayed(self) -> RandomStream:
        """What draws the same from here on."""
        return RandomStream(self.seed, self.count)


class CpuOps(TorchFunctionMode):
    """A block in which `torch.nn.functional.dropout` and `embedding` on the CPU are those of this file.

    Models need not know: their modules and attention functions call these by name. Dropout in
    `scaled_dot_product_attention` is drawn here too. A backward pass leaves the block while it runs; activations that
    it recomputes are put back into it by `for_checkpoint`.

    Args:
        rng: what dropout draws from; None: from torch's generator of the CPU.
    """

    def __init__(self, rng: RandomStream | None = None) -> None:
        super().__init__()
        self.rng = rng

    def __enter__(self) -> Any:
        self._outer = getattr(_thread, "block", None)
        _thread.block = self
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        _thread.block = self._outer

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if func is functional.dropout:
            return _dropout(self.rng, *args, **named)
        if func is functional.embedding:
            return _embedding(*args, **named)
        if func is functional.scaled_dot_product_attention:
            return _attention(self.rng, *args, **named)
        return func(*args, **named)


# The block that a thread is in, and where the gradients of its embeddings go.
_thread = threading.local()


def for_checkpoint() -> tuple[AbstractContextManager[None], CpuOps]:
    """`torch.utils.checkpoint`'s ``context_fn``: contexts of the first pass, in the block anyway, and of the second."""
    block: CpuOps | None = getattr(_thread, "block", None)
    return nullcontext(), CpuOps(block.rng.replayed() if block is not None and block.rng is not None else None)


@contextmanager
def collected_rows() -> Iterator[RowGradients]:
    """A block in which backward passes of this thread leave the gradients of embeddings in the list that it gives."""
    _thread.rows = []
    try:
        yield _thread.rows
    finally:
        _thread.rows = None


def add_rows(gradients: RowGradients) -> None:
    """Add gradients of rows to those of their weights."""
    for weight, rows, added in gradients:
        with torch.no_grad():
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            weight.grad.index_add_(0, rows, added)


def _bits(rng: RandomStream | None, like: Tensor) -> Tensor:
    """16 random bits for each element, as int16."""
    if rng is None:
        # From a seed that torch's generator gives: replaying its state replays the bits.
        generator = np.random.SFC64(int(torch.randint(2**62, (1,)).item()))
    else:
        generator = rng.bit_generator()
    # other threads go on meanwhile, unlike in `random_raw`
    words = np.random.Generator(generator).integers(0, 2**64, -(-like.numel() // 4), dtype=np.uint64)
    return torch.from_numpy(words.view(np.int16))[: like.numel()].view(like.shape)


def _mask(rng: RandomStream | None, like: Tensor, p: float) -> tuple[Tensor, float]:
    """What stays with probability 1 - p, to the nearest 1 / 65536; and by how much it grows, so that the mean stays."""
    dropped = min(round(p * _LEVELS), _LEVELS - 1)
    return _bits(rng, like) >= dropped - _LEVELS // 2, _LEVELS / (_LEVELS - dropped)


def _dropout(
    rng: RandomStream | None, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    if not training or not 0.0 < p < 1.0 or inplace or input.device.type != "cpu":
        return functional.dropout(input, p, training, inplace)
    return _Dropout.apply(input, p, rng)  # type: ignore[no-any-return]


def _attention(
    rng: RandomStream | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`scaled_dot_product_attention`; with dropout as torch computes it then on a CPU, but with bits of `rng`."""
    if not dropout_p or query.device.type != "cpu" or rng is None:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(groups, dim=-3), value.repeat_interleave(groups, dim=-3)
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return _dropout(rng, torch.ops.aten._safe_softmax(scores, -1), dropout_p) @ value


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
    """Zero elements at random, and scale the others so that the mean stays: see `_mask`."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, p: float, rng: RandomStream | None) -> Tensor:
        mask, ctx.scale = _mask(rng, input, p)
        ctx.save_for_backward(mask)
        return torch.ops.aten.native_dropout_backward(input, mask, ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        return torch.ops.aten.native_dropout_backward(gradients[0], mask, ctx.scale), None, None


class _Embedding(torch.autograd.Function):
    """Rows of a leaf `weight`, whose gradient is added to ``weight.grad`` in place, or collected."""

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
        collected: RowGradients | None = getattr(_thread, "rows", None)
        if collected is None:
            add_rows([(weight, rows, added)])
        else:
            collected.append((weight, rows, added))
        return None, None, None
