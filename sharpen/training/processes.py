"""Joining the processes of a training: torchrun's variables, the backend, threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psutil
import torch
import torch.distributed as dist

from sharpen.distributed import ProcessGroup

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
    """Processes that share the cores must share them out: two that each use all of them are many times slower.

    OMP_NUM_THREADS, where a user or a launcher of ours set it, is left alone. torchrun sets it too when nobody did, to
    1 thread for each of several processes, which leaves most of a machine idle.
    """
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if "OMP_NUM_THREADS" not in os.environ or (local > 1 and _set_by_torchrun()):
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // local))


def _set_by_torchrun() -> bool:
    """Whether torchrun, which started this process, made up OMP_NUM_THREADS=1.

    It cannot be told from a wish by its value, but torchrun's own environment, as the system remembers it from its
    start, has no such variable then. Where that cannot be read, the value counts as a wish.
    """
    if os.environ["OMP_NUM_THREADS"] != "1" or "TORCHELASTIC_RUN_ID" not in os.environ:
        return False
    try:
        started_with = psutil.Process(os.getppid()).environ()
    except (psutil.Error, OSError):
        return False
    return "OMP_NUM_THREADS" not in started_with
