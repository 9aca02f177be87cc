"""Start a child process that ends when its parent does, however that ends.

On Linux the kernel kills a process whose parent has died if it asked for that (PR_SET_PDEATHSIG in prctl(2)). This file
is run as a script between the two: it asks, makes sure that the parent did not die before, and becomes the program.
Elsewhere it only becomes the program. It imports the standard library only and needs no package of the environment.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1


def dies_with_parent(command: Sequence[str]) -> list[str]:
    """A command line that starts `command` so that it is killed when the process that starts it ends.

    Every descendant of this process that is started by such a command ends with this process.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main(arguments: Sequence[str]) -> NoReturn:
    """Become the program in ``arguments[1:]``; end with 137 if the process ``arguments[0]`` is no ancestor any more."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if not _descends_from(int(arguments[0])):
            sys.exit(128 + signal.SIGKILL)
    os.execvp(arguments[1], list(arguments[1:]))  # noqa: S606


def _descends_from(ancestor: int) -> bool:
    process = os.getppid()
    while process not in (0, ancestor):
        try:
            # the name in brackets may hold spaces
            process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return process == ancestor


if __name__ == "__main__":
    main(sys.argv[1:])
