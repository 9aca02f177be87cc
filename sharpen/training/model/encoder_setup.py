"""What training changes about an encoder before the first step and after the last."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sharpen.distributed import ProcessGroup, local_part, shard_of
from sharpen.errors import InputError
from sharpen.hardware.cpu_ops import for_checkpoint
from sharpen.models.encoder import Encoder
from sharpen.training.model import lora
from sharpen.training.optimization.loop_settings import LoopSettings
from sharpen.training.settings import TrainingSettings


def check_fits(encoder: Encoder, settings: TrainingSettings, model: str) -> None:
    """Raise InputError for what the settings ask of a base model, loaded as `encoder`, that it cannot do."""
    if settings.share_encoder and encoder.query_model is not None:
        raise InputError(
            f"share_encoder: {model} has two towers, one for queries and one for passages; set share_encoder to false "
            "to train both, or take a base model with one"
        )
    check_checkpointing(encoder, settings, "lower activation_gib instead")
    if settings.fix_position_embedding and not position_embeddings(encoder.model):
        raise InputError(f"fix_position_embedding: {type(encoder.model).__name__} has none; leave it false")


def check_checkpointing(encoder: Encoder, settings: LoopSettings, instead: str) -> None:
    """Raise InputError, with what to do `instead`, where `settings` recompute activations that `encoder` cannot."""
    if settings.gradient_checkpointing and not encoder.model.supports_gradient_checkpointing:
        raise InputError(f"gradient_checkpointing: {type(encoder.model).__name__} cannot do it; {instead}")


def checkpoint_activations(encoder: Encoder) -> None:
    """Let every tower recompute activations layer by layer."""
    for tower in encoder.towers.values():
        # The re-entrant form fails when an encoder runs more than once before the backward pass.
        tower.activation_checkpointing_enable({"use_reentrant": False, "context_fn": for_checkpoint})


def set_up(encoder: Encoder, settings: TrainingSettings) -> None:
    """Apply towers, dropout, frozen position embeddings, adapters and gradient checkpointing.

    Raises:
        InputError: the model has none of the layers that shall get adapters.
    """
    if not settings.share_encoder and encoder.query_model is None:
        encoder.untie()
    for tower in encoder.towers.values():
        if settings.dropout is not None:
            set_dropout(tower, settings.dropout)
        if settings.fix_position_embedding:
            for parameter in position_embeddings(tower):
                parameter.requires_grad_(False)
    if settings.lora_rank:
        lora.add_adapters(encoder, settings)
    if settings.gradient_checkpointing:
        checkpoint_activations(encoder)


def finish(encoder: Encoder, settings: TrainingSettings) -> None:
    """Make the trained encoder one that can be saved; shards cannot be."""
    if settings.lora_rank and not encoder.sharded:
        lora.merge_adapters(encoder, settings.quantize_base)
    encoder.eval()


def position_embeddings(model: nn.Module) -> list[nn.Parameter]:
    """The weights of learned positions, by the names that transformers' models have for them."""
    names = ("position_embeddings", "embed_positions", "wpe")
    return [weights for name, weights in model.named_parameters() if any(part in names for part in name.split("."))]


def set_dropout(model: nn.Module, share: float) -> None:
    """Set the share of every dropout, also where attention holds it as a number; the model's config stays as it is."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        for name in ("attention_dropout", "dropout", "activation_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, share)


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """Name -> weights of all that training changes; the rest is as the base model has it."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def restore(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put back what `trained_weights` gave, or the same as whole tensors."""
    trained = trained_weights(model)
    if weights.keys() != trained.keys():
        raise ValueError("these are not the weights that this training changes")
    for name, target in trained.items():
        local_part(target).copy_(local_part(shard_of(weights[name], target)))


def restore_on_all(model: nn.Module, weights: Mapping[str, Tensor] | None, exchange: ProcessGroup) -> None:
    """Put back, on every process, the whole tensors that the first one has, one by one.

    Args:
        model: what is trained.
        weights: of the first process; the others need none.
        exchange: the processes.
    """
    if weights is not None and weights.keys() != trained_weights(model).keys():
        raise ValueError("these are not the weights that this training changes")
    for name, target in trained_weights(model).items():
        tensor = torch.empty(target.shape, dtype=target.dtype) if weights is None else weights[name]
        exchange.broadcast(tensor)
        local_part(target).copy_(local_part(shard_of(tensor, target)))
