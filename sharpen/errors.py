"""The failures that Sharpen distinguishes, each with the exit code that a shell sees.

0 done · 1 the run failed · 2 the user's input is wrong · 3 the model was not promoted: the gate said no, or another
run was first · 4 the run was cancelled · 143 a training was told to end (SIGTERM) and can go on.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable


class SharpenError(Exception):
    """Any failure that is reported to the user in plain lines, without a traceback."""

    exit_code = 1


class StepFailed(SharpenError):
    """A step could not finish for a reason that is not the user's input."""

    exit_code = 1


class Interrupted(SharpenError):
    """A process was told to end (SIGTERM), and left what the next start goes on from."""

    exit_code = 143


class NoSpace(StepFailed):
    """A disk, a quota or an object store is full."""


class InputError(SharpenError):
    """The user's input is wrong. Every fault is one line that says where it is and what to do.

    Args:
        faults: one line, or one line per fault.
    """

    exit_code = 2

    def __init__(self, faults: str | Iterable[str]) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))


class GateRejected(SharpenError):
    """The model was measured and found not good enough to be promoted."""

    exit_code = 3


class Overtaken(SharpenError):
    """Somebody else changed the champion first; it was left as they made it."""

    exit_code = 3


class Cancelled(SharpenError):
    """Somebody ended the run before it was done."""

    exit_code = 4


def is_full(error: BaseException) -> bool:
    """True when the error says that the disk or the quota is full, whatever library raised it."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # libraries written in Rust or C++ give the same fault as text
    return not isinstance(error, SharpenError) and "no space left on device" in str(error).lower()
