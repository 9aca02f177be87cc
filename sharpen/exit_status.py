"""How a process reports to its parent why it failed.

torchrun and kfp.local report a failed child as exit code 1 with a traceback of their own. So the process that fails
first writes the exit code and the lines for the user to a file: on one machine the file that its parent names in
`SHARPEN_OUTCOME`; in a pod the container's termination message, which the cluster's API hands to the launcher.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sharpen.console import TO_STDERR, enable_logging
from sharpen.errors import InputError, NoSpace, SharpenError, is_full
from sharpen.terminal import one_line, printable

logger = logging.getLogger(__name__)

VARIABLE = "SHARPEN_OUTCOME"
# https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
TERMINATION_LOG = Path("/dev/termination-log")
# Kubernetes keeps 4096 bytes of a container's message
_MESSAGE_BYTES = 4000
# torchrun starts failed processes again; it counts here how often it did
_RESTARTS_VARIABLE = "TORCHELASTIC_RESTART_COUNT"


# of a path that a user named: no right, read-only, too long, a folder instead of a file or the other way round
_UNUSABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
)


@dataclass(frozen=True)
class ExitStatus:
    """Why a step ended: its name, the exit code that it wants, and one line per fault."""

    step: str
    exit_code: int
    lines: list[str]


def write_exit_status(step: str, exit_code: int, lines: Sequence[str]) -> None:
    """Report why a `step` fails (`exit_code`, `lines`) to the parent's file if nobody was first, else on stderr.

    In a pod it is left as the container's termination message too: the first one, but a fault of the user's before one
    that only follows from it.
    """
    status = ExitStatus(step, exit_code, list(lines))
    target = os.environ.get(VARIABLE)
    if not target:
        for line in lines:
            logger.error(printable(line))
        _leave_message(status)
        return
    temporary = Path(f"{target}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(asdict(status)), encoding="utf-8")
        os.link(temporary, target)  # one winner, and never a half-written file
    except FileExistsError:
        pass
    except OSError:
        # a full disk, of which the parent learns from the log
        for line in lines:
            logger.error(line)
    finally:
        temporary.unlink(missing_ok=True)


def read_exit_status(path: Path) -> ExitStatus | None:
    """What a child reported, or None if none did."""
    if not path.is_file():
        return None
    return ExitStatus(**json.loads(path.read_text(encoding="utf-8")))


def parse_exit_status(message: str) -> ExitStatus | None:
    """The outcome in a container's termination message; None when it says something else."""
    try:
        values = json.loads(message)
        return ExitStatus(str(values["step"]), int(values["exit_code"]), [str(line) for line in values["lines"]])
    except (ValueError, KeyError, TypeError):
        return None


def previous_user_error() -> ExitStatus | None:
    """The fault of the user's that ended the last try of this container's processes, if torchrun tries again."""
    if os.environ.get(_RESTARTS_VARIABLE, "0") == "0" or not TERMINATION_LOG.is_file():
        return None
    status = parse_exit_status(TERMINATION_LOG.read_text(encoding="utf-8", errors="replace"))
    return status if status and status.exit_code == InputError.exit_code else None


def run(main: Callable[[], None], step: str = "") -> None:
    """Call `main`, show what the library logs, and leave the process with the exit code of its outcome.

    An error of the user's or of a run is reported in one line per fault, without a traceback; so are a full disk and
    Ctrl-C. Anything else is a defect of ours and keeps its traceback, with exit code 1.

    Args:
        main: what to do.
        step: the name under which a failure is reported to a parent process.
    """
    enable_logging()
    if before := previous_user_error():
        # the same input is as wrong as before
        sys.exit(before.exit_code)
    try:
        main()
    except KeyboardInterrupt:
        logger.warning("interrupted; nothing half-written was kept", extra=TO_STDERR)
        sys.exit(130)
    except Exception as error:
        known = to_user_error(error)
        if known is None:
            traceback.print_exc()
            sys.exit(1)
        write_exit_status(step, *known)
        sys.exit(known[0])


def to_user_error(error: Exception) -> tuple[int, list[str]] | None:
    """Exit code and lines for an error that has a plain explanation; None for a defect of ours."""
    if isinstance(error, InputError):
        return error.exit_code, error.faults
    if isinstance(error, SharpenError):
        return error.exit_code, [str(error)]
    if isinstance(error, OSError) and error.errno in _UNUSABLE and error.filename:
        return InputError.exit_code, [f"{one_line(str(error.filename))}: cannot be used here ({error.strerror})"]
    if is_full(error):
        written = getattr(error, "filename", None) or "output"
        return NoSpace.exit_code, [f"no space left while writing {written}: free some space"]
    return None


def _leave_message(status: ExitStatus) -> None:
    lines = status.lines
    text = json.dumps(asdict(status))
    while len(text.encode()) > _MESSAGE_BYTES and lines:
        # many faults: the first ones fit; one long one: its beginning does
        lines = lines[:-1] if len(lines) > 1 else [lines[0][: len(lines[0]) // 2]]
        text = json.dumps(asdict(ExitStatus(status.step, status.exit_code, lines)))
    try:
        with TERMINATION_LOG.open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            first = parse_exit_status(file.read())
            if first and not (status.exit_code == InputError.exit_code != first.exit_code):
                return
            file.seek(0)
            file.truncate()
            file.write(text)
    except OSError:
        # not in a pod
        return
