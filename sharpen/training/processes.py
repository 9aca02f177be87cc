"""Joining the processes of a training: torchrun's variables, the backend, threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from sharpen.distributed import ProcessGroup
from sharpen.hardware.measurement import fast_threads
from sharpen.processes.cores import requested_cores

# The others wait while the first process loads, evaluates a large dev corpus or uploads the model.
PATIENCE = timedelta(hours=3)


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """The group of processes that torchrun started (gloo on CPU, nccl on GPU), or this process alone."""
    _threads()
    started = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized()
    if started:
        gpu = torch.cuda.is_available()
        if gpu:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE)
    try:
        yield ProcessGroup()
    finally:
        if started:
            dist.destroy_process_group()


@contextmanager
def local_rank_zero_first(exchange: ProcessGroup) -> Iterator[bool]:
    """Let the first process of each machine run the block before the others, so that it fills the shared caches.

    Yields:
        Whether this is such a first process.
    """
    first = int(os.environ.get("LOCAL_RANK", "0")) == 0
    if not first:
        exchange.wait()
    yield first
    if first:
        exchange.wait()


def _threads() -> None:
    """Share the cores out: processes that each use all of them are many times slower."""
    if requested_cores() is None:
        torch.set_num_threads(fast_threads())
