"""A program on one or several processes of this machine, the latter under torchrun; they end with this process."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from sharpen import exit_status
from sharpen.errors import InputError, StepFailed
from sharpen.exit_status import ExitStatus
from sharpen.processes.cores import available_cores, requested_cores
from sharpen.processes.parent_death import dies_with_parent

logger = logging.getLogger(__name__)

# Seconds that a program has to end after SIGTERM.
GRACE_SECONDS = 30


class LocalProcesses:
    """``python -m MODULE OPTION ...`` on this machine.

    Args:
        module: the program.
        options: its command line.
        processes: how many; 1 is a plain process.
        threads: of each; 0: its share of the cores, of which a single process takes those that are fast.
        output: takes each line that it writes.

    Attributes:
        command: what is started.
        environment: the variables that it gets besides those of this process.
    """

    def __init__(
        self,
        module: str,
        options: Sequence[str],
        processes: int,
        threads: int = 0,
        output: Callable[[str], object] = logger.info,
    ) -> None:
        self.processes, self._output = processes, output
        # -P: the working folder may hold a folder `components` that is not ours
        python = [sys.executable, "-P", "-m"]
        self.command = [*python, module, *options]
        if processes > 1:
            torchrun = [*python, "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
            # torchrun's children end with torchrun, and torchrun with this process
            self.command = [*torchrun, "--no-python", *dies_with_parent(self.command)]
        share = threads or max(1, available_cores() // processes)
        self.environment = {
            # glibc heeds it from the first import on, as `allocator.limit_heaps` does where a step begins
            "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", str(max(2, share))),
            "PYTHONUNBUFFERED": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        # a single process measures how many are fast, where nobody asked for a number
        if threads or processes > 1 or requested_cores():
            self.environment["OMP_NUM_THREADS"] = str(share)
        self._running: subprocess.Popen[str] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> None:
        """Start it."""
        self._folder = tempfile.TemporaryDirectory(prefix="sharpen-job-")
        self._running = subprocess.Popen(
            dies_with_parent(self.command),
            env={**os.environ, exit_status.VARIABLE: str(self._status_file), **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def wait(self) -> tuple[int, ExitStatus | None]:
        """Log its output until it ends; its exit code, and the status of the first process that failed."""
        assert self._running is not None
        assert self._running.stdout is not None
        with self._running.stdout as lines:
            for line in lines:
                # Once a process has reported why it fails, torchrun's own traceback adds nothing.
                if not self._status_file.exists():
                    self._output(line.removesuffix("\n"))
        code = self._running.wait()
        status = exit_status.read_exit_status(self._status_file)
        self._clean_up()
        return code, status

    def cancel(self) -> None:
        """Tell it to end, and end it if it does not."""
        if self._running is not None and self._running.poll() is None:
            self._running.terminate()
            try:
                rest, _ = self._running.communicate(timeout=GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._running.kill()
                rest, _ = self._running.communicate()
            if rest:
                self._output(rest.removesuffix("\n"))
        self._clean_up()

    def failure(self, code: int) -> str:
        """The message for a program that ended with this code and reported nothing."""
        return f"the job of {self.processes} process(es) ended with exit code {code}; its output above says why"

    @property
    def _status_file(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / "outcome.json"

    def _clean_up(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def run_on_processes(module: str, options: Sequence[str], processes: int) -> None:
    """Run a program on several processes of this machine, and wait for it; SIGTERM and Ctrl-C end it.

    Args:
        module: the program.
        options: its command line.
        processes: how many.

    Raises:
        InputError: a process reported that the user's input is wrong.
        StepFailed: the program failed for another reason.
    """
    program = LocalProcesses(module, options, processes)
    with cancelled_on_signals(program.cancel):
        program.start()
        code, status = program.wait()
    if code:
        raise_failure(status, [program.failure(code)])


def raise_failure(status: ExitStatus | None, reasons: Sequence[str]) -> None:
    """Raise InputError if the status is one, else StepFailed with its lines, or these reasons."""
    if status and status.exit_code == InputError.exit_code:
        raise InputError(status.lines)
    raise StepFailed("; ".join(status.lines if status else reasons))


class _Terminated(BaseException):
    """SIGTERM came. Not an Exception, so that nothing on the way up takes it for a failed call."""


@contextmanager
def cancelled_on_signals(cancel: Callable[[], None]) -> Iterator[None]:
    """Call `cancel` when SIGTERM or Ctrl-C comes within the block.

    Raises:
        StepFailed: after SIGTERM.
        KeyboardInterrupt: after Ctrl-C.
    """

    def terminated(number: int, _: FrameType | None) -> None:
        # Once is enough: a second signal must not break the cancelling.
        signal.signal(number, signal.SIG_IGN)
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    except _Terminated:
        cancel()
        raise StepFailed("the step was ended (SIGTERM); its job was cancelled") from None
    except KeyboardInterrupt:
        cancel()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
