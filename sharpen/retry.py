"""Calls of servers that may be away: one way to wait for object stores and for the APIs of Kubernetes and Kubeflow.

What has answered before is waited for: with growing, random pauses and a line a minute, until a budget in time is
spent. What has never answered is most likely a wrong address, and is given up within `FIRST_CONTACT_SECONDS`.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from sharpen.console import TO_STDERR
from sharpen.errors import InputError
from sharpen.progress import clock

logger = logging.getLogger(__name__)

T = TypeVar("T")

DEFAULT_SECONDS = 600.0
FIRST_CONTACT_SECONDS = 5.0
FIRST_LINE_SECONDS = 5.0
LINE_SECONDS = 60.0

_budget: ContextVar[float | None] = ContextVar("budget", default=None)
_cancelled: ContextVar[threading.Event | None] = ContextVar("cancelled", default=None)


def budget_seconds(variable: str) -> float:
    """How long a server that does not answer is waited for: the environment variable in seconds, else 600.

    Raises:
        InputError: the variable is not a number of seconds.
    """
    text = os.environ.get(variable, "")
    try:
        seconds = float(text) if text else DEFAULT_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InputError(f"{variable}: {text!r} is not a number of seconds, such as 600")
    limit = _budget.get()
    return seconds if limit is None else min(seconds, limit)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Within the block, in this thread, a server that does not answer is waited for no longer than this."""
    before = _budget.set(seconds)
    try:
        yield
    finally:
        _budget.reset(before)


@contextmanager
def until(cancelled: threading.Event) -> Iterator[None]:
    """Within the block, in this thread, a server that does not answer is waited for until the event is set."""
    before = _cancelled.set(cancelled)
    try:
        yield
    finally:
        _cancelled.reset(before)


def repeat(
    call: Callable[[float], T],
    server: str,
    patience: Callable[[Exception], float | None],
    budget: float,
    *,
    first_pause: float = 0.25,
    longest_pause: float = 8.0,
    cancelled: threading.Event | None = None,
) -> T:
    """The result of a call, which is made again while the server does not answer.

    Args:
        call: makes the request; takes the seconds that are left for it.
        server: who is asked, in words; a line a minute says of it that it is waited for.
        patience: for how many seconds after the first failure this one is worth another try; None: it is raised.
        budget: the longest patience.
        first_pause: longest pause before the second try in seconds; it doubles from there.
        longest_pause: of all, unless the server asks for more (``retry_after`` of the exception).
        cancelled: ends the waiting when it is set.

    Raises:
        Exception: that of the last try; where it was waited for, with a note that says for how long (`explain`).
    """
    ended = [event for event in (cancelled, _cancelled.get()) if event]
    began: float | None = None
    tries = 0
    while True:
        started = time.monotonic()
        try:
            result = call(budget if began is None else max(0.0, began + budget - started))
        except Exception as error:
            limit = patience(error)
            if limit is None:
                raise
            # from the start of the first try that failed
            began = started if began is None else began
            waited = time.monotonic() - began
            if waited >= limit or any(event.is_set() for event in ended):
                if tries:
                    error.add_note(f"given up after {clock(waited)}")
                raise
            _outages.tell(server, error, waited, limit)
            grown = min(longest_pause, first_pause * 2 ** min(tries, 10))
            # never earlier than the server asked for, and not all clients at once
            pause = max(getattr(error, "retry_after", 0.0), grown / 2) + random.uniform(0, grown / 2)
            (ended or [threading.Event()])[0].wait(min(pause, limit - waited))
            tries += 1
        else:
            _outages.over(server)
            return result


def explain(error: Exception, text: str = "") -> str:
    """What an error says, or a text about it, and for how long it was waited for."""
    return "; ".join([text or str(error), *getattr(error, "__notes__", [])])


class _Outages:
    """The servers that do not answer now; several threads tell of each only once a minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}
        self._reported: dict[str, float] = {}

    def tell(self, server: str, fault: Exception, waited: float, limit: float) -> None:
        now = time.monotonic()
        with self._lock:
            self._since.setdefault(server, now - waited)
            if waited < FIRST_LINE_SECONDS or now - self._reported.get(server, -LINE_SECONDS) < LINE_SECONDS:
                return
            self._reported[server] = now
        waiting = f"for {clock(waited)}, at most {clock(limit)}"
        logger.warning(f"waiting for {server} ({waiting}): {' '.join(str(fault).split())}", extra=TO_STDERR)

    def over(self, server: str) -> None:
        with self._lock:
            since, reported = self._since.pop(server, None), self._reported.pop(server, None)
        if since is not None and reported is not None:
            logger.warning(f"{server} answers again, after {clock(time.monotonic() - since)}", extra=TO_STDERR)


_outages = _Outages()
