"""Signals that end a command: its steps end first, then every `finally` is run, so that the store is left in order."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType

import psutil

# Ctrl-C in a terminal reaches the steps too; they get so long to end by themselves
_OWN_SECONDS = 1.5
_TERMINATE_SECONDS = 2
_KILL_SECONDS = 2


def end_steps_when_interrupted() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP end the steps and this process; what is ignored (nohup) stays so."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupted)


def _interrupted(number: int, _: FrameType | None) -> None:
    _end_steps(_OWN_SECONDS if number == signal.SIGINT else 0)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def _end_steps(patience: float) -> None:
    """End all descendants of this process, but not the store, which has a session of its own.

    What the steps have started ends with them.
    """
    session, children = os.getsid(0), []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(child.pid) == session:
                children.append(child)
    _, children = psutil.wait_procs(children, timeout=patience)
    for seconds, end in ((_TERMINATE_SECONDS, psutil.Process.terminate), (_KILL_SECONDS, psutil.Process.kill)):
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                end(child)
        _, children = psutil.wait_procs(children, timeout=seconds)
