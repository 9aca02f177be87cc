"""Losses and gradients of a bi-encoder by one library, in that library's environment: ``python … REQUEST.json``.

The request names the library, the model, a file of features and the variants; each process writes a file. Gradients
are averaged over the processes, as DistributedDataParallel does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1:
        dist.init_process_group("gloo")
    features = {name: torch.from_numpy(values) for name, values in np.load(request["features"]).items()}
    own = {name: values.chunk(size)[rank] for name, values in features.items()}
    query, passage = (
        {name.removeprefix(kind): values for name, values in own.items() if name.startswith(kind)}
        for kind in ("query_", "passage_")
    )
    found = {}
    for name, variant in request["variants"].items():
        teacher = own["teacher"].reshape(-1).tolist() if variant["distilled"] else None
        loss, weights = {"sharpen": by_sharpen, "FlagEmbedding": by_flagembedding}[request["library"]](
            request["model"], variant, query, passage, teacher
        )
        loss.backward()
        found[f"{name}/loss"] = loss.detach().double()
        found |= {f"{name}/{key}": weight.grad for key, weight in weights if weight.grad is not None}
    for value in found.values():
        if size > 1:
            dist.all_reduce(value)
            value /= size
    if rank == 0:
        np.savez(request["output"], **{name: value.numpy() for name, value in found.items()})
    if size > 1:
        dist.destroy_process_group()


def by_sharpen(folder: str, variant: dict[str, Any], query: Any, passage: Any, teacher: Any) -> Any:
    from sharpen.models.bi_encoder import BiEncoderModel

    model = BiEncoderModel(folder, **variant["options"]).double()
    return model(query, passage, teacher).loss, model.encoder.model.named_parameters()


def by_flagembedding(folder: str, variant: dict[str, Any], query: Any, passage: Any, teacher: Any) -> Any:
    from FlagEmbedding.finetune.embedder.encoder_only.base.modeling import (  # type: ignore[import-not-found]
        BiEncoderOnlyEmbedderModel,
    )
    from transformers import AutoModel

    options = dict(variant["options"])
    in_batch = options.pop("use_inbatch_neg", True)
    options["normalize_embeddings"] = options.pop("normalized", False)
    model = BiEncoderOnlyEmbedderModel(AutoModel.from_pretrained(folder).double(), **options)
    # it returns a loss only in training, which has no dropout here
    model.train().model.eval()
    return model(query, passage, teacher, no_in_batch_neg_flag=not in_batch).loss, model.model.named_parameters()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
