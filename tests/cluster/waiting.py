"""Waiting for what a cluster does: for a condition, with a deadline, never for a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL_SECONDS = 1.0


def patience() -> float:
    """What every deadline and limit is multiplied by."""
    return float(os.environ.get("SHARPEN_TEST_PATIENCE") or 1)


def wait_for(what: str, look: Callable[[], T | None], seconds: float, *, stop: Callable[[], str] = lambda: "") -> T:
    """The first true value of a look.

    Args:
        what: it is, as it follows "no".
        look: returns it, or something false.
        seconds: deadline, on a cluster with time.
        stop: says why there is no use in waiting on; empty: there is.

    Raises:
        AssertionError: at the deadline, or when waiting is of no use any more.
    """
    seconds *= patience()
    end = time.monotonic() + seconds
    while not (value := look()):
        if why := stop():
            raise AssertionError(f"no {what}: {why}")
        assert time.monotonic() < end, f"no {what} within {seconds:.0f} s"
        time.sleep(POLL_SECONDS)
    return value
