"""Imports without the garbage collector, for programs: a sixth of the seconds that torch and transformers need."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lasting_imports() -> Iterator[None]:
    """What is imported in the block lasts as long as the process: no garbage is looked for in it, then or later.

    For the beginning of a program. All that is there at the end of the block is left out of later collections, so a
    library must not do it to a process that is not its own.
    """
    was_on, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        if was_on:
            gc.enable()
