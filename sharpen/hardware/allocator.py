"""Memory that a computation on a CPU frees is kept for the next one, instead of going back to the system each time.

glibc hands the free top of a heap back at once, and the system gives it again as pages of zeros, at a fault each: every
operation of a model pays for its output anew. With MiniLM that was a quarter of the time of encoding.
"""

from __future__ import annotations

import ctypes
import os

from sharpen.processes.cores import available_cores

# Of glibc's malloc.h. Setting either threshold ends glibc's own guessing, so both are set.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
# Above it every block is a mapping of its own, which is given back when it is freed: the most that glibc allows.
_LARGEST_ON_HEAP = 32 * 2**20
_NEVER_TRIM = 2**31 - 1
_SMALLEST_MAPPING = 2**20
# Whoever set one of these knows better.
_GLIBC_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def retain_freed_memory() -> bool:
    """From now on this process keeps what it frees; whether it does.

    It does not with another allocator's libc, or where the environment sets glibc's own.
    """
    limit_heaps()
    if any(os.environ.get(name) for name in _GLIBC_VARIABLES):
        return False
    return _set_option(_MMAP_THRESHOLD, _LARGEST_ON_HEAP) and _set_option(_TRIM_THRESHOLD, _NEVER_TRIM)


def return_freed_memory() -> None:
    """From now on this process gives back what it frees, and what is free already: memory is worth more than time.

    Whole weights of a layer that come and go would otherwise leave a heap with holes of the size of the model.
    """
    _set_option(_MMAP_THRESHOLD, _SMALLEST_MAPPING)
    _set_option(_TRIM_THRESHOLD, _SMALLEST_MAPPING)
    release_freed_memory()


def limit_heaps() -> None:
    """From now on a new thread begins a heap only while there are fewer heaps than cores; called before torch is there.

    Every heap keeps what it once held, and importing torch starts threads.
    """
    if not any(os.environ.get(name) for name in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")):
        _set_option(_ARENA_MAX, max(2, available_cores()))


def release_freed_memory() -> None:
    """Give the system what is free: long work is done, and other work or processes need memory."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _set_option(name: int, value: int) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(name, value))
