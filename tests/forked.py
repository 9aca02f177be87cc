"""Processes of one group, forked from one that has imported torch and transformers: under torchrun each would again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.multiprocessing


def run_group(target: Callable[..., None], size: int, *arguments: Any) -> None:
    """Call `target` in so many processes, which are a gloo group and have torchrun's variables; all must end well.

    The calling process must have computed nothing yet: threads do not survive a fork.
    """
    with tempfile.TemporaryDirectory() as folder:
        everything = (size, folder, target, arguments)
        torch.multiprocessing.start_processes(_member, args=everything, nprocs=size, start_method="fork")


def _member(rank: int, size: int, folder: str, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ.update({name: str(value) for name, value in ranks.items()})
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=(Path(folder) / "meet").as_uri(), rank=rank, world_size=size)
    target(*arguments)
    dist.destroy_process_group()
