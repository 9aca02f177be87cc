"""How many cores there are for this process."""

from __future__ import annotations

import os


def machine_cores() -> int:
    """Cores of this machine that the system lets this process use."""
    return len(os.sched_getaffinity(0))


def available_cores() -> int:
    """Cores to use: those requested, else this process's share of the machine's among torchrun's processes."""
    return requested_cores() or max(1, machine_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def requested_cores() -> int | None:
    """What a user or a launcher wrote into OMP_NUM_THREADS; None: nothing, or no number.

    A pod sees every core of its node, and this variable says how many its limit is worth. Of a list, one number a
    level of nesting, the first counts. A 1 that torchrun made up, as it does where none is set, does not count.
    """
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return (int(given) or None) if given.isdecimal() and not _set_by_torchrun() else None


def _set_by_torchrun() -> bool:
    """Whether torchrun, which started this process among several, made up OMP_NUM_THREADS=1.

    The value alone does not show it, but torchrun's own environment, as the system remembers it from its start, has no
    such variable then. Where that cannot be read, the value counts as requested.
    """
    if os.environ["OMP_NUM_THREADS"] != "1" or "TORCHELASTIC_RUN_ID" not in os.environ:
        return False
    if os.environ.get("LOCAL_WORLD_SIZE", "1") == "1":
        return False
    import psutil

    try:
        started_with = psutil.Process(os.getppid()).environ()
    except (psutil.Error, OSError):
        return False
    return "OMP_NUM_THREADS" not in started_with
