"""How often Python looks for garbage in a program: a sixth of the seconds that torch and transformers need to load."""

from __future__ import annotations

import gc

# new objects in containers before the youngest are looked through (Python's own: 700), and how many such looks before
# the next older ones are (10 each); a program's modules are a million objects, none of which is garbage
THRESHOLDS = (10_000, 20, 20)


def collect_garbage_rarely() -> None:
    """For the beginning of a program; a library must not do it to a process that is not its own."""
    gc.set_threshold(*THRESHOLDS)
