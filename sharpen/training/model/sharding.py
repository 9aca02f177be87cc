"""Models beyond one GPU: weights, gradients and the optimiser's state in shards, one a process (FSDP2).

`torch.distributed.fsdp.fully_shard` gathers the weights of a layer just before it computes, in both passes, and frees
them after it. Gradients are summed into the shards, not averaged: a step's loss is that of the whole batch.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from typing import cast

from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from sharpen.distributed import ProcessGroup, whole
from sharpen.hardware.allocator import return_freed_memory
from sharpen.hardware.device import default_device
from sharpen.models.encoder import Encoder
from sharpen.training.settings import TrainingSettings

logger = logging.getLogger(__name__)

# Optimisers that change a weight by its own gradient alone: what they do to shards is what they do to the whole.
OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "sgd", "adagrad", "rmsprop")


def faults(settings: TrainingSettings) -> list[str]:
    """A line for what cannot be had together with shards."""
    optimizer = settings.training_arguments.get("optim", OPTIMIZERS[0])
    if settings.fsdp and optimizer not in OPTIMIZERS:
        instead = ", ".join(OPTIMIZERS)
        return [f"fsdp: {optimizer} needs whole weights; set training_arguments.optim to one of {instead}"]
    return []


def is_sharded(settings: TrainingSettings, exchange: ProcessGroup) -> bool:
    """Whether the weights are cut into shards, as set; where `exchange` is one process, it has all of them anyway."""
    return settings.fsdp and exchange.size > 1


def shard(encoder: Encoder, exchange: ProcessGroup) -> Encoder:
    """Cut all weights into a shard for each process, layer by layer, on its GPU if it has one.

    No GPU ever holds a whole tower.

    Args:
        encoder: with towers and adapters as they will be trained, equal on all processes.
        exchange: the processes.

    Returns:
        The encoder without its weights, for `gather`.
    """
    skeleton = without_weights(encoder)
    device = default_device()
    mesh = init_device_mesh(device.type, (exchange.size,))
    for tower in encoder.towers.values():
        if device.type == "cuda" and encoder.settings.attn_implementation == "auto":
            # what was chosen for the CPU, on which the model was read
            tower.set_attn_implementation("sdpa")
    encoder.sharded = True
    for module in [*layers(encoder), *encoder.towers.values(), encoder]:
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
        cut = cast(FSDPModule, module)
        cut.set_gradient_divide_factor(1.0)
        # gloo cannot multiply while it reduces
        cut.set_force_sum_reduction_for_comms(True)
    return_freed_memory()
    return skeleton


def gather(encoder: Encoder, skeleton: Encoder, exchange: ProcessGroup) -> Encoder:
    """The first process's encoder with whole weights, in the memory of its CPU; the others keep their shards.

    Args:
        encoder: that `shard` cut.
        skeleton: what `shard` returned.
        exchange: the processes; all of them give their shards, tensor by tensor.
    """
    empty = dict(skeleton.named_parameters())
    for name, shards in encoder.named_parameters():
        weights = whole(shards.detach())
        if exchange.rank == 0:
            empty[name].data = weights.cpu()
    if exchange.rank > 0:
        return encoder
    # the precision that it was trained in, not the one that suits the CPU
    skeleton.settings = encoder.settings.model_copy(update={"precision": encoder.precision})
    return skeleton


def layers(module: nn.Module) -> Iterator[nn.Module]:
    """The transformer layers in a model: the members of its outermost lists of modules."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from layers(child)


def without_weights(encoder: Encoder) -> Encoder:
    """A copy of an encoder whose weights are empty; what it computes with beside them, buffers and rules, is there."""
    known: dict[int, object] = {id(encoder.tokenizer): encoder.tokenizer}
    for weights in encoder.parameters():
        known[id(weights)] = nn.Parameter(weights.new_empty(0, device="cpu"), requires_grad=weights.requires_grad)
    return copy.deepcopy(encoder, known)
