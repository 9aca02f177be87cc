"""A contestant's process: run it, watch its memory, end it where it hangs, and tell its last lines where it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.peers.memory import high_water
from tests.peers.rows import ROOT, stop

LOG, LAST_LINES = "log.txt", 60
_SECONDS_BETWEEN_LOOKS = 0.05
_SECONDS_TO_END = 10.0


@dataclass(frozen=True)
class Ended:
    """A process that ended well.

    Attributes:
        seconds: from its start to its end, interpreter and imports included.
        cpu_seconds: over all threads, its children's included.
        peak_gib: the highest resident memory of the process and its children together.
    """

    seconds: float
    cpu_seconds: float
    peak_gib: float


def environment(folder: Path, threads: int, *, ours: bool = True) -> dict[str, str]:
    """This process's environment with a number of threads, caches in `folder`, and no hub.

    Args:
        folder: takes the caches.
        threads: threads of every library.
        ours: whether the process imports this repository; a peer's own environment must not see it.
    """
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hf"),
        "SHARPEN_CACHE": str(folder / "sharpen"),
        "PYTHONPATH": str(ROOT) if ours else "",
    }


def run_process(
    name: str, command: Sequence[str], folder: Path, environ: Mapping[str, str], limit_minutes: float
) -> Ended:
    """Run a command in `folder`; what it prints goes to ``log.txt`` there.

    Ends the benchmark with the process's last lines if it fails, or if it is not done within the limit; its children
    are ended with it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # a benchmark that is ended leaves through the finally below: its child is in a session of its own
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    with (folder / LOG).open("w") as target:
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environ), stdout=target, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code, cpu_seconds, peak = _watched(process, started + 60 * limit_minutes)
        finally:
            _end(process)
            signal.signal(signal.SIGTERM, before)
    if code is None:
        stop(f"{name} was not done after {limit_minutes:g} minutes; its last lines:\n{last_lines(folder)}", code=1)
    if code:
        stop(f"{name} ended with exit code {code}; its last lines:\n{last_lines(folder)}", code=1)
    return Ended(time.monotonic() - started, cpu_seconds, peak / 2**30)


def last_lines(folder: Path) -> str:
    """The end of what a process printed; of a progress bar that was drawn in one line many times, its last state."""
    text = (folder / LOG).read_bytes().decode(errors="replace")
    lines = [line.rsplit("\r", 1)[-1] for line in text.rstrip().split("\n")]
    return "\n".join(lines[-LAST_LINES:])


def _watched(process: subprocess.Popen[bytes], deadline: float) -> tuple[int | None, float, int]:
    """Exit code (None: not done in time), CPU seconds and peak memory in bytes."""
    root = psutil.Process(process.pid)
    peak = 0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_utime + usage.ru_stime, peak
        if time.monotonic() > deadline:
            return None, 0.0, peak
        peak = max(peak, _resident(root))
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _resident(root: psutil.Process) -> int:
    """Resident memory of a process and its children, or the high-water mark of one of them if that is more."""
    now = highest = 0
    try:
        for one in [root, *root.children(recursive=True)]:
            now += one.memory_info().rss
            highest = max(highest, high_water(one.pid))
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        pass  # it ended while it was looked at
    return max(now, highest)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the process's group."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        if process.returncode is None:
            try:
                process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                continue
