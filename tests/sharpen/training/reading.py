"""Processes that read the inputs of a training together: ``python -m … MODEL FOLDER MEETING [DATA LOCAL_RANK]...``.

Each writes what it read, and which files it maps, to FOLDER; a process of its own for each DATA.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import psutil
import torch
import torch.distributed as dist
import torch.multiprocessing

from sharpen.distributed import ProcessGroup
from sharpen.errors import InputError
from sharpen.training import inputs
from sharpen.training.settings import TrainingSettings
from tests.sharpen.training.small_data import ENCODER

SETTINGS = {"train_batch_size": 8, "train_group_size": 4, "eval_steps": 5, "eval_corpus_size": 20}


def worker(rank: int, model: str, folder: str, meeting: str, places: list[tuple[str, str]]) -> None:
    torch.set_num_threads(1)
    data, local_rank = places[rank]
    os.environ["LOCAL_RANK"] = local_rank
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=len(places))
    read: list[str] = []
    real = inputs.read_dataset
    inputs.read_dataset = lambda uri: read.append(uri) or real(uri)
    found: dict[str, object]
    try:
        made = inputs.read_inputs(data, None, model, TrainingSettings.checked(SETTINGS), ENCODER, ProcessGroup())
        assert made.dev is not None
        found = {
            "read": read,
            "queries": list(made.examples.queries),
            "ids": [ids.tolist() for ids in made.tokens.passages(range(len(made.examples.texts)))],
            "dev": [made.dev.query_ids, made.dev.passages, made.dev.note],
            "mapped": sorted(file.path for file in psutil.Process().memory_maps() if file.path.endswith(".arrow")),
        }
    except InputError as error:
        found = {"fault": str(error)}
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    given = sys.argv[4:]
    everyone = list(zip(given[::2], given[1::2], strict=True))
    torch.multiprocessing.start_processes(
        worker, args=(*sys.argv[1:4], everyone), nprocs=len(everyone), start_method="fork"
    )
