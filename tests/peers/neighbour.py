"""Other work on the machine: processes that keep a core busy each, while a contestant is measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# ends by itself when whoever started it is gone
_BUSY = """
import os
parent = os.getppid()
while os.getppid() == parent:
    sum(number * number for number in range(200_000))
"""


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """A block beside which so many processes compute without a pause; they have the same priority."""
    running = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
        if ended := [process for process in running if process.poll() is not None]:
            raise RuntimeError(f"{len(ended)} of {count} neighbours ended before the measurement did")
    finally:
        for process in running:
            process.kill()
            process.wait()
