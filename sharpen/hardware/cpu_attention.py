"""Attention for a CPU that computes in bf16: a model's eager attention, without its detours through float32.

Under autocast a model's own eager attention adds a float32 mask to bf16 scores and takes the softmax in float32, which
makes it three times slower where a batch has padding. Here scores stay in bf16 from their product to the product with
the values, as they are when they enter that softmax and when they leave it; the softmax itself adds up in float32.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

NAME = "eager_bf16"
# Without gradients only so many scores are held at once, which stay in a core's cache from one product to the other.
_SCORES = 2**20
# What models pass along that the mask already says, or that decides only what is returned.
_HARMLESS = frozenset(
    {"is_causal", "sliding_window", "output_attentions", "output_hidden_states", "position_ids", "use_cache"}
    | {"cache_position", "return_dict", "deterministic"}
)


def register() -> None:
    """Make it known to transformers under `NAME`."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, eager_mask)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention as transformers' models call it.

    Args:
        module: the layer.
        query: (b, h, t, d).
        key, value: (b, h or a divisor of it, t, d).
        attention_mask: (b, 1, t, t), added to the scores; None: all see all.
        scaling: of the scores; None: 1 / sqrt(d).
        dropout: share of the weights that is dropped in training.
        kwargs: anything else; what changes the result is left to the model's own function.

    Returns:
        (b, t, h, d), and nothing for the weights: who holds them holds the largest numbers of a layer.
    """
    meant = {name for name, given in kwargs.items() if given is not None and given is not False}
    if query.dtype != torch.bfloat16 or not meant <= _HARMLESS:
        eager = sys.modules[type(module).__module__].eager_attention_forward
        return eager(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    query = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    mask = None if attention_mask is None else _in_bf16(attention_mask).expand(len(query), -1, -1, -1)
    dropout = dropout if module.training else 0.0
    # autocast would take the softmax in float32
    with torch.autocast(query.device.type, enabled=False):
        if torch.is_grad_enabled() or dropout:  # which draws the same numbers with and without gradients
            return _mixed(query, key, value, mask, dropout).contiguous(), None
        mixed = query.new_empty(*query.transpose(1, 2).shape[:3], value.shape[-1])
        texts = max(1, _SCORES // (query.shape[1] * query.shape[2] * key.shape[2]))
        for start in range(0, len(query), texts):
            part = slice(start, start + texts)
            mixed[part] = _mixed(query[part], key[part], value[part], None if mask is None else mask[part], dropout)
    return mixed, None


def _in_bf16(mask: Tensor) -> Tensor:
    """A mask of any floating type in bf16, finite: float32's minimum would round to -inf.

    A row that sees nothing (padding, in a local window) would then be NaN, and spread from layer to layer.
    """
    return mask.to(torch.bfloat16).clamp(min=torch.finfo(torch.bfloat16).min)


def _mixed(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """(b, t, h, d) of scaled queries."""
    scores = torch.matmul(query, key.transpose(2, 3))
    if mask is not None:
        scores.add_(mask)
    weights = nn.functional.softmax(scores, dim=-1)
    del scores
    if dropout:
        weights = nn.functional.dropout(weights, p=dropout)
    return torch.matmul(weights, value).transpose(1, 2)
