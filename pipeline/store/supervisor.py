"""Run the store's program for as long as somebody uses it.

The supervisor is the parent of `weed`. Users are files on which their processes hold a lock: the kernel frees it
however a process ends, so the store of killed users is stopped as well. It is started as a script, without the packages
of the environment, so this file imports the standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

MUTEX = "lock"
USERS = "users"
STATE = "state.json"
# held by the supervisor and by the program, and names the program's process
RUNNING = "weed.pid"
POLL_SECONDS = 0.5
# An orderly end takes two seconds, or twelve when a reader lingers. What was answered is on disk by then, and the
# store opens after a kill as it does after an orderly end.
STOP_SECONDS = 4
_PR_SET_PDEATHSIG = 1


def try_lock(path: Path) -> int | None:
    """The descriptor of a file on which this process now holds the lock; None while another holds it."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextlib.contextmanager
def _mutex_if_free(directory: Path) -> Iterator[bool]:
    handle = try_lock(directory / MUTEX)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


class User:
    """One user of a store, for as long as it is held. Made and released under the store's mutex.

    Args:
        directory: the store's folder.
        name: what `users` says of this one.
    """

    def __init__(self, directory: Path, name: str) -> None:
        folder = directory / USERS
        folder.mkdir(mode=0o700, exist_ok=True)
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
        handle = try_lock(self._path)
        assert handle is not None
        self._handle = handle
        try:
            os.write(handle, f"{name} (process {os.getpid()})".encode())
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Use the store no longer."""
        self._path.unlink(missing_ok=True)
        # by name, since a forked child holds the same lock
        fcntl.flock(self._handle, fcntl.LOCK_UN)
        os.close(self._handle)


def users(directory: Path) -> list[str]:
    """Who uses the store. Files of dead users are removed. Called under the store's mutex."""
    names = []
    for path in sorted((directory / USERS).glob("*")):
        handle = try_lock(path)
        if handle is None:
            names.append(path.read_text(errors="replace"))
        else:
            path.unlink(missing_ok=True)
            os.close(handle)
    return names


def _stays(directory: Path) -> bool:
    try:
        return bool(json.loads((directory / STATE).read_bytes()).get("stays"))
    except (OSError, ValueError, AttributeError):
        return False


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _dies_with_this_process() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(arguments: Sequence[str]) -> int:
    """Run the program until it ends, a signal comes or nobody uses the store.

    Args:
        arguments: the descriptor of the locked file `RUNNING`, the sockets to remove at the end, one a line, and the
            program's command line. The working folder is the store's.

    Returns:
        The program's exit code.
    """
    held, sockets, command = int(arguments[0]), arguments[1].splitlines(), arguments[2:]
    directory = Path.cwd()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake)
    told_to_end: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: told_to_end.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    child = subprocess.Popen(command, pass_fds=(held,), preexec_fn=_dies_with_this_process, umask=0o077)
    os.pwrite(held, f"{child.pid}\n".encode(), 0)
    try:
        while child.poll() is None:
            select.select([woken], [], [], POLL_SECONDS)
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 512)
            with _mutex_if_free(directory) as free:
                if told_to_end or (free and not _stays(directory) and not users(directory)):
                    _stop(child)
    finally:
        # an error too, such as a folder that was deleted
        if child.poll() is None:
            _stop(child)
        for name in sockets:
            Path(name).unlink(missing_ok=True)
    return child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
