"""What training changes about an encoder before the first step."""

from __future__ import annotations

from torch import nn

from components.core.encoder import Encoder
from components.finetuning.cpu_ops import for_checkpoint
from components.finetuning.settings import TrainingSettings


def set_up(encoder: Encoder, settings: TrainingSettings) -> None:
    """Apply dropout, frozen position embeddings and gradient checkpointing."""
    if settings.dropout is not None:
        set_dropout(encoder.model, settings.dropout)
    if settings.fix_position_embedding:
        for name, parameter in encoder.model.named_parameters():
            if "position_embeddings" in name:
                parameter.requires_grad_(False)
    if settings.gradient_checkpointing:
        # The re-entrant form fails when an encoder runs more than once before the backward pass.
        encoder.model.activation_checkpointing_enable({"use_reentrant": False, "context_fn": for_checkpoint})


def set_dropout(model: nn.Module, share: float) -> None:
    """Set the share of every dropout, also where attention holds it as a number; the model's config stays as it is."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        for name in ("attention_dropout", "dropout", "activation_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, share)
