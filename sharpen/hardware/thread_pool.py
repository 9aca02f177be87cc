"""Work on a CPU side by side: several threads, each computing a whole piece of it on one core.

With a small model, all cores on one micro-batch wait for each other at every operation; a micro-batch for each core
does not. What a piece gives does not depend on the number of cores, as it is always computed on one.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

import torch

from sharpen.hardware.measurement import choices
from sharpen.processes.cores import requested_cores

T = TypeVar("T")
Task = Callable[[], T]
# Threads that are set aside for workers while other operations run on one: see `one_thread`.
_set_aside = 0
_Jobs = queue.SimpleQueue[tuple[Future[T], Task[T]] | None]


def worker_count(device: torch.device, pieces: int) -> int:
    """Worker threads for so many pieces: on a CPU one for each thread that is fast, for a single piece too; else none.

    With all threads on one piece its last bits would depend on their number.
    """
    threads = _set_aside or torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        return 0
    if requested_cores() is None:
        threads = min(threads, choices()["threads"])
    return min(threads, pieces)


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """A block whose operations run on one thread each on a CPU; workers are as many as before.

    An operation on several threads lasts until the slowest one is done: with another busy process on the machine, small
    ones take many times as long. Sums over one thread do not depend on the number of cores either.
    """
    global _set_aside
    before = _set_aside, torch.get_num_threads()
    if device.type == "cpu":
        _set_aside = _set_aside or before[1]
        torch.set_num_threads(1)
    try:
        yield
    finally:
        _set_aside = before[0]
        torch.set_num_threads(before[1])


@contextmanager
def all_threads() -> Iterator[None]:
    """Inside of `one_thread`, a block whose operations are large enough to run on all threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(_set_aside or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def map_in_threads(
    pieces: Iterable[Task[T]],
    workers: int,
    context: Callable[[], AbstractContextManager[object]],
    ahead: int | None = None,
) -> Iterator[T]:
    """The results of the pieces, in their order.

    Args:
        pieces: taken one by one, as a thread is free for it.
        workers: threads; 0: the pieces are computed by the caller's thread, in its own context.
        context: entered once by each thread: modes of torch hold for one thread only.
        ahead: most pieces that are taken beyond the requested result; two for each thread by default.

    Raises:
        BaseException: what a piece raised, at its turn, or what `context` raised.
    """
    if workers == 0:
        for piece in pieces:
            yield piece()
        return
    jobs: _Jobs[T] = queue.SimpleQueue()
    begun: deque[Future[T]] = deque()
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="lane")
    try:
        for _ in range(workers):
            pool.submit(_serve, jobs, context)
        for piece in pieces:
            begun.append(Future())
            jobs.put((begun[-1], piece))
            if len(begun) > (2 * workers if ahead is None else ahead):
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()
        for _ in range(workers):
            jobs.put(None)
        pool.shutdown()
        # torch gives the number that was set last to every thread that begins
        torch.set_num_threads(threads)


def _serve(jobs: _Jobs[T], context: Callable[[], AbstractContextManager[object]]) -> None:
    torch.set_num_threads(1)
    with ExitStack() as entered:
        fault: BaseException | None = None
        try:
            entered.enter_context(context())
        except BaseException as error:
            fault = error  # for whoever waits for a piece
        while (job := jobs.get()) is not None:
            future, piece = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                if fault is not None:
                    raise fault
                future.set_result(piece())
            except BaseException as error:
                future.set_exception(error)
