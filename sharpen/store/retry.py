"""Outages of an object store: every call has a budget in time, and who is at fault depends on whether it ever worked.

A store that has answered once, in this process or in this run, is waited for: with growing, random pauses, a line a
minute, and until the budget is spent, which is then a failure of the run (`StoreUnavailable`, exit code 1). What has
never answered is most likely a wrong address, so that it is given up within seconds, as the user's fault
(`Unreachable`, exit code 2).

A step of a run is a process of its own. It takes the run's store for known, since the run began by asking it; the
steps that meet the run's inputs for the first time say so by `is_first_contact`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event, wait_random_exponential

from sharpen.console import TO_STDERR
from sharpen.errors import InputError, SharpenError
from sharpen.progress import clock
from sharpen.store.s3_client import FIRST_READ_SECONDS, READ_SECONDS, client, endpoint_of, identity
from sharpen.store.s3_errors import code_of, fault_of
from sharpen.uri import CredentialsError, DamagedTransfer, S3Uri, StoreUnavailable, Unreachable, is_remote, parse_remote

logger = logging.getLogger(__name__)

T = TypeVar("T")

TIMEOUT_VARIABLE = "SHARPEN_STORE_TIMEOUT"
DEFAULT_SECONDS = 600.0
FIRST_CONTACT_SECONDS = 5.0
# how often the same bytes are sent or fetched again when they arrive damaged
DAMAGED_TRIES = 4
_PAUSE_SECONDS = 8.0
_FIRST_LINE_SECONDS = 5.0
_LINE_SECONDS = 60.0

_budget: ContextVar[float | None] = ContextVar("budget", default=None)
_answered: set[tuple[str, int]] = set()
_first_contact = False


def budget_seconds() -> float:
    """How long a call waits for a store that does not answer: `SHARPEN_STORE_TIMEOUT` in seconds, else 600.

    Raises:
        InputError: the variable is not a number of seconds.
    """
    text = os.environ.get(TIMEOUT_VARIABLE, "")
    try:
        seconds = float(text) if text else DEFAULT_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InputError(f"{TIMEOUT_VARIABLE}: {text!r} is not a number of seconds, such as 600")
    limit = _budget.get()
    return seconds if limit is None else min(seconds, limit)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Within the block, in this thread, a store that does not answer is waited for no longer than this."""
    before = _budget.set(seconds)
    try:
        yield
    finally:
        _budget.reset(before)


def is_first_contact() -> None:
    """This step is the first of its run to ask for the run's inputs: an endpoint that never answers may be a slip."""
    global _first_contact
    _first_contact = True


def call(remote: S3Uri, operation: Callable[[Any], T], cancelled: threading.Event | None = None) -> T:
    """The result of ``operation(client)``, which is repeated while the store does not answer.

    Args:
        remote: what is asked for.
        operation: asks the store, and may be called any number of times.
        cancelled: ends the waiting when it is set.

    Raises:
        Unreachable: the endpoint has never answered as an object store.
        StoreUnavailable: it has, but not within the budget.
        DamagedTransfer: the bytes arrived damaged again and again.
        NotFound, PreconditionFailed, InputError, StepFailed: what the store answered, see `s3_errors.fault_of`.
    """
    endpoint, budget = endpoint_of(remote), budget_seconds()
    first = last = 0.0

    def once() -> T:
        nonlocal last
        known, last = _is_known(endpoint), time.monotonic()
        try:
            result = operation(client(remote, read_seconds=READ_SECONDS if known else FIRST_READ_SECONDS))
        except Exception as error:
            if _is_answer(error):
                _answered.add((endpoint, identity()))
            fault = fault_of(remote, error)
            # credentials that were there before come from a service that does not answer now
            if isinstance(fault, CredentialsError) and (endpoint, identity()) in _answered:
                fault = StoreUnavailable(str(fault))
            if isinstance(fault, Unreachable) and known:
                fault = StoreUnavailable(fault.what)
            if fault is error:
                raise
            raise fault from None
        _answered.add((endpoint, identity()))
        return result

    def is_over(state: RetryCallState) -> bool:
        nonlocal first
        # from the start of the first try that failed
        first = first or last
        if cancelled is not None and cancelled.is_set():
            return True
        fault = state.outcome.exception() if state.outcome else None
        if isinstance(fault, DamagedTransfer):
            return state.attempt_number >= DAMAGED_TRIES
        limit = FIRST_CONTACT_SECONDS if isinstance(fault, Unreachable) else budget
        return time.monotonic() - first + state.upcoming_sleep > limit

    def tell(state: RetryCallState) -> None:
        if isinstance(fault := state.outcome.exception() if state.outcome else None, StoreUnavailable):
            _outages.tell(endpoint, fault, budget)

    retrying = Retrying(
        retry=retry_if_exception_type((Unreachable, StoreUnavailable, DamagedTransfer)),
        wait=_pause,
        stop=is_over,
        before_sleep=tell,
        sleep=sleep_using_event(cancelled or threading.Event()),
        reraise=True,
    )
    try:
        result = retrying(once)
    except StoreUnavailable as fault:
        raise StoreUnavailable(f"{fault}; given up after {clock(time.monotonic() - first)}") from None
    _outages.over(endpoint)
    return result


_outage_pause = wait_random_exponential(multiplier=0.25, max=_PAUSE_SECONDS)


def _pause(state: RetryCallState) -> float:
    # damaged bytes are sent again at once: the store is there
    damaged = state.outcome and isinstance(state.outcome.exception(), DamagedTransfer)
    return 0.05 if damaged else _outage_pause(state)


def _is_answer(error: Exception) -> bool:
    """True for an error in a store's own words: so there is a store."""
    from botocore.exceptions import ClientError

    return isinstance(error, ClientError) and bool(code_of(error)) and not code_of(error).isdecimal()


def _is_known(endpoint: str) -> bool:
    from sharpen.run_context import LOCAL_RUN, RUN_VARIABLE, run_id

    if any(endpoint == answered for answered, _ in _answered):
        return True
    run = os.environ.get(RUN_VARIABLE, "")
    try:
        if is_remote(run) and endpoint_of(parse_remote(run)) == endpoint:
            return True
    except SharpenError:
        return False
    return not _first_contact and run_id() != LOCAL_RUN


@dataclass
class _Outage:
    since: float
    told: float | None = None


class _Outages:
    """The endpoints that do not answer now; several threads tell of each only once a minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[str, _Outage] = {}

    def tell(self, endpoint: str, fault: StoreUnavailable, budget: float) -> None:
        now = time.monotonic()
        with self._lock:
            outage = self._now.setdefault(endpoint, _Outage(now))
            if now - outage.since < _FIRST_LINE_SECONDS or (outage.told and now - outage.told < _LINE_SECONDS):
                return
            outage.told = now
        waited = f"for {clock(now - outage.since)}, at most {clock(budget)}"
        logger.warning(f"waiting for the object store ({waited}): {fault}", extra=TO_STDERR)

    def over(self, endpoint: str) -> None:
        with self._lock:
            outage = self._now.pop(endpoint, None)
        if outage and outage.told:
            lasted = clock(time.monotonic() - outage.since)
            logger.warning(f"the object store at {endpoint} answers again, after {lasted}", extra=TO_STDERR)


_outages = _Outages()
