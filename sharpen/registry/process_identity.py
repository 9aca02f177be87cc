"""Which process this is, so that another one on the same machine can tell whether it has ended."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from pathlib import Path


def start_time(pid: int) -> str | None:
    """When a process started, as text that is only compared; None when it has ended."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # the name in brackets may hold spaces
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{_boot()}:{fields[19]}"
    answer = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    words = answer.stdout.split(maxsplit=1)
    return words[1].strip() if len(words) == 2 and not words[0].startswith("Z") else None


def this_process() -> dict[str, str]:
    """What `has_ended` needs to know of this process, for a file that other processes read."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "processes": _processes(), "pid": str(pid), "started": start_time(pid) or ""}


def has_ended(process: dict[str, str]) -> bool:
    """True when that process can be proved to have ended.

    Only a process that sees the same process numbers can tell: on the same machine since its last start, and in the
    same container. Of all others nothing is known, and the answer is False.
    """
    known = process.get("processes")
    if not known or known != _processes() or not process.get("pid", "").isdecimal():
        return False
    return start_time(int(process["pid"])) != process.get("started")


def _boot() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _processes() -> str:
    """A name of the set of process numbers that this process sees; empty where there is none."""
    with contextlib.suppress(OSError):
        return f"{_boot()}:{Path('/proc/self/ns/pid').readlink()}" if _boot() else ""
    return ""
