"""How much memory this process may still take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

CGROUPS = Path("/sys/fs/cgroup")
PROCESS_CGROUPS = Path("/proc/self/cgroup")
_OLD_USAGE, _OLD_LIMIT = "memory.usage_in_bytes", "memory.limit_in_bytes"


def free_bytes(device: torch.device) -> int:
    """Bytes that are free on a device: of a GPU's memory; of the machine's, or of what its container's limit leaves.

    Processes of one machine share its memory, so each has its part of it (torchrun's ``LOCAL_WORLD_SIZE``); a GPU is
    one process's own.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = min([psutil.virtual_memory().available, *_left_by_limits()])
    return max(0, free) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _left_by_limits() -> Iterator[int]:
    """What each control group that this process is in leaves; pages of files that can be dropped count as free."""
    try:
        lines = PROCESS_CGROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory") and "memory" not in controllers.split(","):
            continue
        root = CGROUPS / "memory" if controllers else CGROUPS
        group = root / path.lstrip("/")
        # a container sees its own group as the root, whatever its path says
        for folder in {root, group, *(parent for parent in group.parents if root in parent.parents)}:
            yield from _left(folder, *((_OLD_LIMIT, _OLD_USAGE) if controllers else ("memory.max", "memory.current")))


def _left(folder: Path, limit: str, usage: str) -> Iterator[int]:
    try:
        allowed, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
        facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return
    if allowed != "max":
        droppable = int(facts.get("total_inactive_file", facts.get("inactive_file", 0)))
        yield int(allowed) - used + droppable
