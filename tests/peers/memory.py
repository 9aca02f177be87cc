"""The high-water mark of a process's resident memory.

`getrusage` would not do: across an exec it keeps the mark of the process that started this one.
"""

from __future__ import annotations

import os
from pathlib import Path


def high_water(pid: int | None = None) -> int:
    """The most memory, in bytes, that a process (this one, unless named) had resident."""
    for line in Path(f"/proc/{pid or os.getpid()}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0  # it has ended and is only waited for
