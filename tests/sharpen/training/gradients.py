"""Gradients of whole steps on several gloo processes, written to a file: ``python -m … MODEL SIZE,SIZE FOLDER``.

A program of its own, because processes can only be forked before the first backward pass.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch.utils._python_dispatch import TorchDispatchMode

from sharpen.distributed import ProcessGroup, local_part, whole
from sharpen.models.architecture import DenseConfig
from sharpen.models.dense import Dense, DenseLayers
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.training.data.collator import shard_batch
from sharpen.training.data.examples import Examples
from sharpen.training.data.guide import GuideEmbeddings
from sharpen.training.data.sampler import Batch
from sharpen.training.data.tokens import Tokens
from sharpen.training.gradient.step import gradient_step
from sharpen.training.model import sharding
from sharpen.training.objective import memory_of, objective_of
from sharpen.training.settings import TrainingSettings
from tests.sharpen.training.mixed_data import mixed_parts
from tests.sharpen.training.small_data import ENCODER, parts

# two thirds of the queries are of source a; of each source there are some in every step that is used
SOURCES = ("a", "b", "a")
ADAPTERS = {"lora_rank": 4, "lora_dropout": 0.0}
# (settings, number of the step); steps of 8 queries, and of 4 in the tail of the epoch
VARIANTS: dict[str, tuple[dict[str, Any], int]] = {
    "plain": ({}, 0),
    "cached": ({"gradient_cache": "on", "micro_batch_tokens": 40}, 0),
    "partly cached": ({"activation_gib": 0.0005, "sub_batch_size": 3}, 0),
    "unmasked": ({"mask_false_negatives": False}, 0),
    "margin": ({"false_negative_margin": 0.05}, 0),
    "matryoshka": ({"matryoshka_dims": [8, 32]}, 0),
    "symmetric": ({"symmetric": True}, 0),
    "group of one": ({"train_group_size": 1}, 0),
    "symmetric, kl_div": ({"symmetric": True, "knowledge_distillation": True}, 0),
    "matryoshka, full size not named": ({"matryoshka_dims": [8]}, 0),
    "served as int8": ({"served_size": "dim:16+int8", "no_inbatch_sources": ["b"], "symmetric": True}, 0),
    "served as bits, cached": ({"served_size": "binary", "gradient_cache": "on", "micro_batch_tokens": 40}, 0),
    "kl_div": (
        {"knowledge_distillation": True, "kd_weight": 2.0, "infonce_weight": 0.3, "teacher_temperature": 1.5},
        0,
    ),
    "m3_kd_loss": (
        {"knowledge_distillation": True, "kd_loss_type": "m3_kd_loss", "teacher_temperature": 1.5},
        0,
    ),
    "margin_mse": (
        {"loss": "margin_mse", "knowledge_distillation": True, "temperature": 1.0, "teacher_temperature": 10.0},
        0,
    ),
    "cosent": ({"loss": "cosent", "knowledge_distillation": True}, 0),
    "cosent, fewer queries than processes": ({"loss": "cosent", "train_batch_size": 1}, 1),
    "gist_embed": ({"loss": "gist_embed", "guide_model": "random", "symmetric": True}, 0),
    "a loss of one's own": (
        {
            "loss": "tests.sharpen.losses.test_losses:Hinge",
            "loss_arguments": {"margin": 2.0},
            "matryoshka_dims": [8],
            "gradient_cache": "on",
            "micro_batch_tokens": 40,
        },
        0,
    ),
    "in-batch off": ({"use_inbatch_neg": False}, 0),
    "a source apart": ({"no_inbatch_sources": ["b"]}, 0),
    "a source apart, cached": (
        {"no_inbatch_sources": ["b"], "gradient_cache": "on", "micro_batch_tokens": 40, "symmetric": True},
        0,
    ),
    "a source apart, m3_kd_loss": (
        {"no_inbatch_sources": ["b"], "knowledge_distillation": True, "kd_loss_type": "m3_kd_loss"},
        0,
    ),
    "sources by temperature": ({"source_temperature": 5, "no_inbatch_sources": ["b"]}, 1),
    "ragged": ({"train_batch_size": 7, "gradient_cache": "on", "micro_batch_tokens": 50}, 0),
    "fewer queries than processes": ({"train_batch_size": 1}, 1),
    "frozen positions": ({"fix_position_embedding": True}, 0),
    "checkpointed": ({"gradient_checkpointing": True, "gradient_cache": "on", "micro_batch_tokens": 40}, 0),
    "two towers": ({"share_encoder": False}, 0),
    "two towers, cached": ({"share_encoder": False, "gradient_cache": "on", "micro_batch_tokens": 40}, 0),
    "adapters": ({**ADAPTERS}, 0),
    "adapters, cached": ({**ADAPTERS, "gradient_cache": "on", "micro_batch_tokens": 40}, 0),
    "adapters, checkpointed, two towers": (
        {**ADAPTERS, "share_encoder": False, "gradient_checkpointing": True, "sub_batch_size": 3},
        0,
    ),
}
# with Dense modules after the pooling
DENSE: dict[str, tuple[dict[str, Any], int]] = {
    "Dense": ({"gradient_cache": "on", "micro_batch_tokens": 40}, 0),
    "Dense, adapters, two towers, Matryoshka": ({**ADAPTERS, "share_encoder": False, "matryoshka_dims": [8]}, 0),
}
# of the mixed data: what is learned in the step, and settings
MIXED: dict[str, tuple[str, dict[str, Any]]] = {
    "mixed, search": ("search", {}),
    "mixed, similarity": ("similarity", {}),
    "mixed, similarity, each process's own": ("similarity", {"negatives_cross_device": False}),
    "mixed, similarity, two towers": ("similarity", {"share_encoder": False}),
    "mixed, labels": ("labels", {}),
    "mixed, labels, unmasked, cached": (
        "labels",
        {"mask_false_negatives": False, "gradient_cache": "on", "micro_batch_tokens": 40},
    ),
}
LOCAL = {"negatives_cross_device": False}
# also computed with the weights in shards
SHARDED = ("partly cached", "ragged", "fewer queries than processes", "adapters, checkpointed, two towers")
SHARDED += ("mixed, similarity, two towers", "Dense, adapters, two towers, Matryoshka")


def settings_of(name: str) -> tuple[TrainingSettings, int]:
    if name in MIXED:
        values, step = MIXED[name][1], 0
    else:
        values, step = ({**LOCAL}, 0) if name == "process's own" else (VARIANTS | DENSE)[name]
    base = {"train_batch_size": 8, "train_group_size": 4, "temperature": 0.05, "dropout": 0.0}
    return TrainingSettings.checked({**base, **values}), step


def prepared(model: str, settings: TrainingSettings, encoding: EncoderSettings = ENCODER) -> Encoder:
    """The encoder as training has it in the middle: towers that differ, adapters that are not zero."""
    from sharpen.training.model.encoder_setup import set_up

    encoder = Encoder.load(model, encoding, device="cpu")
    set_up(encoder, settings)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weights in encoder.named_parameters():
            if "lora_B" in name or (name.startswith("query_model") and weights.requires_grad):
                weights.add_(torch.randn(weights.shape, generator=draw), alpha=0.02)
    return encoder.train()


def prepared_for(model: str, name: str) -> Encoder:
    """`prepared` for a variant; where it has Dense modules, two that end with 12 dimensions."""
    settings, _ = settings_of(name)
    encoder = prepared(model, settings)
    if name in DENSE:
        configs = [DenseConfig("", encoder.dimension, 20), DenseConfig("", 20, 12, False, "GELU", True)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(9)
            for kind in encoder.towers:
                encoder.dense[kind] = DenseLayers(*map(Dense, configs))
        encoder.dimension = 12
    return encoder


def random_guide(examples: Examples) -> GuideEmbeddings:
    draw = np.random.default_rng(4)
    return GuideEmbeddings(
        *(draw.normal(size=(len(rows), 5)).astype(np.float32) for rows in (examples.queries, examples.texts))
    )


def mixed_step(name: str, settings: TrainingSettings) -> tuple[Examples, Batch]:
    """Examples and the first batch of a variant of `MIXED`."""
    examples, batches = mixed_parts(settings)
    made = (batches.batch(step) for step in range(batches.per_epoch))
    return examples, next(batch for batch in made if examples.tasks[batch.task].learns == MIXED[name][0])


def one(model: str, name: str, exchange: ProcessGroup, *, sharded: bool = False) -> dict[str, Any]:
    """Loss, negatives and gradient of one step, and how many numbers this process's weights are."""
    settings, step = settings_of(name)
    encoder = prepared_for(model, name)
    if sharded:
        sharding.shard(encoder, exchange)
    if name in MIXED:
        examples, batch = mixed_step(name, settings)
    else:
        examples, batches = parts(settings, sources=SOURCES)
        batch = batches.batch(step)
    objective = objective_of(settings, normalize=True)
    layout = shard_batch(
        *(batch, Tokens(examples, encoder), settings, exchange.rank, exchange.size),
        loss=objective.loss,
        guide=random_guide(examples) if settings.guide_model else None,
    )
    found = gradient_step(encoder, layout, objective, memory_of(settings), exchange)
    held = sum(local_part(weights).numel() for weights in encoder.parameters())
    gradient = [whole(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in encoder.parameters()]
    return {"loss": found.loss, "negatives": found.negatives, "gradient": torch.cat(gradient).numpy(), "held": held}


class Collectives(TorchDispatchMode):
    """Names of the collectives that were started, all kinds: torch sends each through its dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func.namespace == "c10d":
            self.names.append(func._schema.name.removeprefix("c10d::"))
        return func(*args, **(kwargs or {}))


def collectives_of_a_step(model: str, exchange: ProcessGroup) -> list[str]:
    """Those of a step with many micro-batches."""
    with Collectives() as found:
        one(model, "cached", exchange)
    return found.names


def collectives_of_other_kinds(exchange: ProcessGroup) -> list[str]:
    """What the counter hears of collectives that no step should have."""
    with Collectives() as found:
        dist.barrier()
        dist.broadcast(torch.zeros(2), src=0)
        dist.reduce(torch.zeros(2), dst=0)
        dist.all_gather([torch.zeros(2) for _ in range(exchange.size)], torch.zeros(2))
        exchange.broadcast_object("an object")
    return found.names


def worker(rank: int, size: int, model: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet-{size}", rank=rank, world_size=size)
    exchange = ProcessGroup()
    found = {}
    for name in [*VARIANTS, *DENSE, *MIXED, "process's own"]:
        for key, value in one(model, name, exchange).items():
            found[f"{name}/{key}"] = value
    for name in SHARDED:
        for key, value in one(model, name, exchange, sharded=True).items():
            found[f"{name} in shards/{key}"] = value
    found["collectives"] = np.array(collectives_of_a_step(model, exchange))
    found["others"] = np.array(collectives_of_other_kinds(exchange))
    np.savez(Path(folder) / f"{size}-{rank}.npz", **found)
    dist.destroy_process_group()


if __name__ == "__main__":
    for count in sys.argv[2].split(","):
        torch.multiprocessing.start_processes(
            worker, args=(int(count), sys.argv[1], sys.argv[3]), nprocs=int(count), start_method="fork"
        )
