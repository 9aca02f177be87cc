"""The processes of a training: joining them by torchrun's variables, their threads, and SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

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


class StopRequest:
    """Whether this process was told to end: its spot machine goes, its node is drained, or its job is deleted.

    SIGTERM may reach any of the processes, at any moment. It only sets a flag there; the processes agree by the next
    step's all-reduce, so that all of them stop after the same step.
    """

    def __init__(self) -> None:
        self.received = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True

    @contextmanager
    def by_sigterm(self, enabled: bool) -> Iterator[None]:
        """Within the block SIGTERM asks for a stop, where nobody else handles it and the thread is the main one.

        Args:
            enabled: False leaves the signal alone.
        """
        main = threading.current_thread() is threading.main_thread()
        if not enabled or not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            yield
            return
        signal.signal(signal.SIGTERM, self._receive)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _threads() -> None:
    """Share the cores out: processes that each use all of them are many times slower."""
    if requested_cores() is None:
        torch.set_num_threads(fast_threads())
