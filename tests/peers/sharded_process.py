"""Steps of a training with the weights in shards, by each process of a group: what is in its memory, as JSON.

``torchrun ... -m tests.peers.sharded_process MODEL FOLDER`` writes ``FOLDER/RANK.json``; alone, one process has it all.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from sharpen.distributed import local_part
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.training.data.collator import shard_batch
from sharpen.training.data.tokens import Tokens
from sharpen.training.gradient.step import gradient_step
from sharpen.training.model import sharding
from sharpen.training.model.encoder_setup import set_up
from sharpen.training.objective import memory_of, objective_of
from sharpen.training.optimization.arguments import training_arguments
from sharpen.training.optimization.optimizer import make_optimizer
from sharpen.training.processes import process_group
from sharpen.training.settings import TrainingSettings
from tests.peers.memory import high_water
from tests.sharpen.training.small_data import parts

STEPS = 2


def main() -> None:
    model, folder = sys.argv[1], Path(sys.argv[2])
    values = {"train_batch_size": 8, "train_group_size": 2, "fsdp": True, "gradient_cache": "on", "dropout": 0.0}
    settings = TrainingSettings.checked({**values, "micro_batch_tokens": 256})
    encoding = EncoderSettings.checked({"query_max_len": 16, "passage_max_len": 32, "precision": "fp32"})
    with process_group() as exchange:
        encoder = Encoder.load(model, encoding, device="cpu", training=True).train()
        set_up(encoder, settings)
        read = high_water()
        if sharding.is_sharded(settings, exchange):
            sharding.shard(encoder, exchange)
        forget_peak()
        optimizer = make_optimizer(encoder, training_arguments(settings, folder, STEPS))
        examples, batches = parts(settings)
        tokens, objective = Tokens(examples, encoder), objective_of(settings, normalize=True)
        started, loss = time.perf_counter(), 0.0
        for step in range(STEPS):
            optimizer.zero_grad()
            layout = shard_batch(batches.batch(step), tokens, settings, exchange.rank, exchange.size)
            loss = gradient_step(encoder, layout, objective, memory_of(settings), exchange).loss
            optimizer.step()
        facts = {
            "seconds": (time.perf_counter() - started) / STEPS,
            "loss": loss,
            "weights": held(list(encoder.parameters())),
            "gradients": held([weights.grad for weights in encoder.parameters() if weights.grad is not None]),
            "optimizer": held([t for state in optimizer.state.values() for t in state.values()]),
            "peak_while_reading": read,
            "peak_while_training": high_water(),
        }
        (folder / f"{exchange.rank}.json").write_text(json.dumps(facts))


def held(tensors: list[torch.Tensor]) -> int:
    """Bytes of this process's parts of tensors."""
    return sum(local_part(tensor.detach()).nbytes for tensor in tensors)


def forget_peak() -> None:
    """From here on the high-water mark is that of what follows."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
