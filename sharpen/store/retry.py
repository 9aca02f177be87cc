"""Outages of an object store: what is waited for (`sharpen.retry`), and who is at fault.

A store that has answered once, in this process or in this run, and then does not within the budget is a failure of the
run (`StoreUnavailable`, exit code 1). What has never answered is most likely a wrong address, the user's fault
(`Unreachable`, exit code 2).

A step of a run is a process of its own. It takes the run's store for known, since the run began by asking it; the
step that meets the run's inputs for the first time says so by `expect_first_contact`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sharpen import retry
from sharpen.errors import SharpenError
from sharpen.run_context import LOCAL_RUN, RUN_VARIABLE, run_id
from sharpen.store.s3_client import client, endpoint_of, identity
from sharpen.store.s3_errors import code_of, fault_of
from sharpen.uri import CredentialsError, DamagedTransfer, S3Uri, StoreUnavailable, Unreachable, is_remote, parse_remote

T = TypeVar("T")

TIMEOUT_VARIABLE = "SHARPEN_STORE_TIMEOUT"
# how often the same bytes are sent or fetched again when they arrive damaged
DAMAGED_TRIES = 4
_DAMAGED_PAUSE_SECONDS = 0.05

_answered: set[tuple[str, int]] = set()
_first_contact = False


def expect_first_contact() -> None:
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
        StoreUnavailable: it has, but not within the budget, `SHARPEN_STORE_TIMEOUT`.
        DamagedTransfer: the bytes arrived damaged again and again.
        NotFound, PreconditionFailed, InputError, StepFailed: what the store answered, see `s3_errors.fault_of`.
    """
    endpoint, budget = endpoint_of(remote), retry.budget_seconds(TIMEOUT_VARIABLE)

    def once(seconds: float) -> T:
        known = _is_known(endpoint)
        try:
            result = operation(client(remote, seconds=seconds, known=known))
        except Exception as error:
            fault = _fault_of(remote, endpoint, error, known)
            if fault is error:
                raise
            raise fault from None
        _answered.add((endpoint, identity()))
        return result

    def patience(error: Exception) -> float | None:
        if isinstance(error, Unreachable):
            return min(retry.FIRST_CONTACT_SECONDS, budget)
        return budget if isinstance(error, StoreUnavailable) else None

    damaged = 0
    while True:
        try:
            return retry.repeat(once, f"the object store at {endpoint}", patience, budget, cancelled=cancelled)
        except StoreUnavailable as fault:
            raise StoreUnavailable(retry.explain(fault)) from None
        except DamagedTransfer:
            damaged += 1
            if damaged == DAMAGED_TRIES or (cancelled is not None and cancelled.is_set()):
                raise
            # the store is there
            time.sleep(_DAMAGED_PAUSE_SECONDS)


def _fault_of(remote: S3Uri, endpoint: str, error: Exception, known: bool) -> Exception:
    """The fault behind an error; of a store that is known to be there an outage is no fault of the user's."""
    if _is_answer(error):
        _answered.add((endpoint, identity()))
    fault = fault_of(remote, error)
    # credentials that were there before come from a service that does not answer now
    if isinstance(fault, CredentialsError) and (endpoint, identity()) in _answered:
        return StoreUnavailable(str(fault))
    return StoreUnavailable(fault.what) if isinstance(fault, Unreachable) and known else fault


def _is_answer(error: Exception) -> bool:
    """True for an error in a store's own words: so there is a store."""
    from botocore.exceptions import ClientError

    return isinstance(error, ClientError) and bool(code_of(error)) and not code_of(error).isdecimal()


def _is_known(endpoint: str) -> bool:
    if any(endpoint == answered for answered, _ in _answered):
        return True
    run = os.environ.get(RUN_VARIABLE, "")
    try:
        if is_remote(run) and endpoint_of(parse_remote(run)) == endpoint:
            return True
    except SharpenError:
        return False
    return not _first_contact and run_id() != LOCAL_RUN
