"""Gradients of `BiEncoderModel` under DistributedDataParallel: ``python -m … MODEL FOLDER``, a file a process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from sharpen.models.bi_encoder import BiEncoderModel
from tests.forked import run_group

GROUP = 3
WORDS = "river stone bread milk sun moon water letter house night winter garden silver road bird tree lamp sea".split()
QUERIES = [f"which {word}" for word in WORDS[:5]]
PASSAGES = [f"{WORDS[n % 18]} and {WORDS[(7 * n + 2) % 18]} near the {WORDS[(5 * n) % 18]}" for n in range(5 * GROUP)]
TEACHER = [[2.0, 0.5, -1.0], [1.0, 1.5, 0.0], [3.0, -2.0, 0.5], [0.2, 0.1, 0.0], [4.0, 1.0, 2.0]]
SHARPLY = {"normalized": True, "temperature": 0.05}
# constructor's arguments, whether there are teacher scores
VARIANTS: dict[str, tuple[dict[str, Any], bool]] = {
    "in-batch": (SHARPLY, False),
    "in-batch, not normalised": ({"temperature": 1.0}, False),
    "mean pooling": ({**SHARPLY, "sentence_pooling_method": "mean"}, False),
    "in-batch off": ({**SHARPLY, "use_inbatch_neg": False}, False),
    "kl_div": (SHARPLY, True),
    "in-batch off, kl_div": ({**SHARPLY, "use_inbatch_neg": False}, True),
    "m3_kd_loss": ({**SHARPLY, "kd_loss_type": "m3_kd_loss"}, True),
    "in-batch off, m3_kd_loss": ({**SHARPLY, "use_inbatch_neg": False, "kd_loss_type": "m3_kd_loss"}, True),
    "m3_kd_loss, not normalised": ({"kd_loss_type": "m3_kd_loss"}, True),
}
ACROSS = [name for name in VARIANTS if "off" not in name and name != "mean pooling"]


def features(model: BiEncoderModel, texts: list[str]) -> dict[str, Tensor]:
    """Both sides of a text get padding: of the longest text of all, so that every part of a batch is padded alike."""
    return dict(model.encoder.tokenizer(texts, padding=True, return_tensors="pt"))


def double(name: str, folder: str, **more: Any) -> BiEncoderModel:
    """The model of a variant in float64, without dropout."""
    return BiEncoderModel(folder, **VARIANTS[name][0], **more).double().eval()


def main(folder: str, target: str) -> None:
    rank = dist.get_rank()
    rows = range(3) if rank == 0 else range(3, 5)
    found = {}
    for name in ACROSS:
        model = double(name, folder, negatives_cross_device=True)
        query = features(model, [QUERIES[row] for row in rows])
        passage = features(model, PASSAGES[rows[0] * GROUP : (rows[-1] + 1) * GROUP])
        teacher = [TEACHER[row] for row in rows] if VARIANTS[name][1] else None
        # held until the backward pass is over: without it nothing is averaged
        parallel = DistributedDataParallel(model)
        output = parallel(query, passage, teacher)
        output.loss.backward()
        found[f"{name}/loss"] = output.loss.detach().numpy()
        found[f"{name}/scores"] = output.scores.detach().numpy()
        found |= {f"{name}/{key}": value.grad.numpy() for key, value in model.encoder.model.named_parameters()}
    np.savez(Path(target) / f"{rank}.npz", **found)


if __name__ == "__main__":
    run_group(main, 2, *sys.argv[1:])
