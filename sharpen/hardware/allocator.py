"""Memory that a computation on a CPU frees is kept for the next one, instead of going back to the system each time.

glibc hands the free top of a heap back at once, and the system gives it again as pages of zeros, at a fault each: every
operation of a model pays for its output anew. With MiniLM that was a quarter of the time of encoding.
"""

from __future__ import annotations

import ctypes
import os

# Of glibc's malloc.h. Setting either threshold ends glibc's own guessing, so both are set.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
# Above it every block is a mapping of its own, which is given back when it is freed: the most that glibc allows.
_LARGEST_ON_HEAP = 32 * 2**20
_NEVER_TRIM = 2**31 - 1
# Whoever set one of these knows better.
_GLIBC_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def retain_freed_memory() -> bool:
    """From now on this process keeps what it frees; whether it does.

    It does not with another allocator's libc, or where the environment sets glibc's own. There is a heap a core and no
    more: each new thread would begin one, and every heap keeps what it once held.
    """
    if any(os.environ.get(name) for name in _GLIBC_VARIABLES):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not os.environ.get("MALLOC_ARENA_MAX"):
        mallopt(_ARENA_MAX, max(2, len(os.sched_getaffinity(0))))
    return mallopt is not None and all(
        mallopt(name, value) for name, value in ((_MMAP_THRESHOLD, _LARGEST_ON_HEAP), (_TRIM_THRESHOLD, _NEVER_TRIM))
    )


def release_freed_memory() -> None:
    """Give the system what is free: long work is done, and other work or processes need memory."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
