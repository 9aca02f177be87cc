"""From token vectors to one vector a text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sharpen.errors import InputError

# Model types whose encoder is used alone; their tokenizers put no special token before a text.
T5 = ("t5", "mt5", "umt5")


def pool(states: Tensor, attention_mask: Tensor, pooling: str) -> Tensor:
    """One vector a text (n x d) from token vectors (n x length x d); padding (mask 0) never counts, on either side.

    Args:
        states: (n, length, d) token vectors.
        attention_mask: (n, length); padding is 0, on either side.
        pooling: ``cls``, ``mean`` or ``last_token``.
    """
    if pooling == "mean":
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
    rows = torch.arange(states.shape[0], device=states.device)
    if pooling == "cls":
        return states[rows, attention_mask.argmax(dim=1)]
    positions = torch.arange(states.shape[1], device=states.device)
    return states[rows, (attention_mask * positions).argmax(dim=1)]


def is_causal(model: Any) -> bool:
    """Whether a token sees only what stands before it, as in decoder-only models."""
    return any(getattr(module, "is_causal", False) is True for module in model.modules())


def chosen_pooling(requested: str, stored: str | None, *, causal: bool, model_type: str = "") -> str:
    """The pooling to use.

    Args:
        requested: `EncoderSettings.sentence_pooling_method`.
        stored: what the model's folder says; None: nothing.
        causal: see `is_causal`.
        model_type: of the model's configuration.

    Raises:
        InputError: the first token's vector of a causal model, which knows nothing of the text.
    """
    default = "last_token" if causal else "mean" if model_type in T5 else "cls"
    pooling = (stored or default) if requested == "auto" else requested
    if causal and pooling == "cls":
        raise InputError(
            "encoder.sentence_pooling_method: cls takes the first token, which sees nothing of the text in a "
            "decoder-only model; use last_token or mean"
        )
    return pooling
