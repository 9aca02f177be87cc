"""Gradients of a step on several gloo processes, written to files: ``python -m … MODEL WINDOWS SIZE,SIZE FOLDER``.

A program of its own, because processes can only be forked before the first backward pass.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing

from sharpen.distributed import ProcessGroup
from sharpen.models.encoder import Encoder
from sharpen.models.masked_lm import load_head
from sharpen.pretraining.decoder import EnhancedDecoder
from sharpen.pretraining.inputs import Inputs, with_pooling
from sharpen.pretraining.model import PretrainingModel
from sharpen.pretraining.objective import MaskedTokenObjective
from sharpen.pretraining.pretrain import window_steps
from sharpen.pretraining.settings import PretrainingSettings
from sharpen.pretraining.windows import Windows
from sharpen.settings import EncoderSettings
from sharpen.training.model.encoder_setup import set_dropout

METHODS = ("retromae", "mlm")


def inputs_of(model: str, windows: str, settings: PretrainingSettings) -> Inputs:
    """A model without dropout, its windows; the head and the decoder are drawn from a seed."""
    encoder = Encoder.load(model, with_pooling(EncoderSettings.checked({"precision": "fp32"}), settings), training=True)
    torch.manual_seed(1)
    decoder = EnhancedDecoder(encoder.model.config) if settings.method == "retromae" else None
    made = PretrainingModel(encoder, load_head(model, encoder, 1), decoder)
    set_dropout(made, 0.0)
    return Inputs(made, Windows(Path(windows)), "")


def one(model: str, windows: str, method: str, exchange: ProcessGroup) -> dict[str, np.ndarray]:
    """Loss and gradient of the second step."""
    chosen = {"method": method, "train_batch_size": 7, "micro_batch_tokens": 64, "max_steps": 3}
    settings = PretrainingSettings.checked(chosen)
    inputs = inputs_of(model, windows, settings)
    batch = window_steps(inputs, settings, exchange)[1]
    inputs.model.train()
    result = MaskedTokenObjective(inputs.model).gradient(batch, exchange)
    gradients = [weights.grad.flatten() for weights in inputs.model.parameters() if weights.grad is not None]
    return {"loss": np.array(result.loss), "gradient": torch.cat(gradients).numpy()}


def worker(rank: int, size: int, model: str, windows: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet-{size}", rank=rank, world_size=size)
    for method in METHODS:
        np.savez(Path(folder) / f"{method}-{size}-{rank}.npz", **one(model, windows, method, ProcessGroup()))
    dist.destroy_process_group()


if __name__ == "__main__":
    for count in sys.argv[3].split(","):
        arguments = (int(count), sys.argv[1], sys.argv[2], sys.argv[4])
        torch.multiprocessing.start_processes(worker, args=arguments, nprocs=int(count), start_method="fork")
