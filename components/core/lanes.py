"""Work on a CPU side by side: several threads, each computing a whole piece of it on one core.

With a small model, all cores on one micro-batch wait for each other at every operation; a micro-batch for each core
does not. What a piece gives does not depend on the number of cores, as it is always computed on one.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

import torch

T = TypeVar("T")
Piece = Callable[[], T]
_Jobs = queue.SimpleQueue[tuple[Future[T], Piece[T]] | None]


def lane_count(device: torch.device, pieces: int) -> int:
    """Lanes for so many pieces on a device: on a CPU one for each thread that torch may use, for a single piece too.

    With all threads on one piece its last bits would depend on their number.
    """
    threads = torch.get_num_threads()
    return min(threads, pieces) if device.type == "cpu" and threads > 1 else 0


def side_by_side(
    pieces: Iterable[Piece[T]], lanes: int, surroundings: Callable[[], AbstractContextManager[object]]
) -> Iterator[T]:
    """The results of the pieces, in their order.

    Args:
        pieces: taken one by one, at most two for each lane ahead of the result that is asked for.
        lanes: threads; 0: the pieces are computed by the caller's thread, in its own surroundings.
        surroundings: entered once by each thread: modes of torch hold for one thread only.

    Raises:
        BaseException: what a piece raised, at its turn, or what `surroundings` raised.
    """
    if lanes == 0:
        for piece in pieces:
            yield piece()
        return
    jobs: _Jobs[T] = queue.SimpleQueue()
    begun: deque[Future[T]] = deque()
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(lanes, thread_name_prefix="lane")
    try:
        for _ in range(lanes):
            pool.submit(_serve, jobs, surroundings)
        for piece in pieces:
            begun.append(Future())
            jobs.put((begun[-1], piece))
            if len(begun) > 2 * lanes:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()
        for _ in range(lanes):
            jobs.put(None)
        pool.shutdown()
        # torch gives the number that was set last to every thread that begins
        torch.set_num_threads(threads)


def _serve(jobs: _Jobs[T], surroundings: Callable[[], AbstractContextManager[object]]) -> None:
    torch.set_num_threads(1)
    with ExitStack() as entered:
        fault: BaseException | None = None
        try:
            entered.enter_context(surroundings())
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
