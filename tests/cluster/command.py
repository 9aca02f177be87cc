"""A command of Sharpen as a user runs it: a process, its lines with the time at which each was to be read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from tests.cluster.waiting import patience, wait_for

SHARPEN = (sys.executable, "-m", "pipeline.cli")
_ROOT = Path(__file__).parents[2]


class Line(NamedTuple):
    """A line of output.

    Attributes:
        at: seconds of the monotonic clock.
        text: the line.
        stream: ``out`` or ``err``.
    """

    at: float
    text: str
    stream: str


class Command:
    """`sharpen` with arguments, started. What it prints is read as it comes.

    Args:
        arguments: of the command.
        folder: that it runs in.
    """

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self.arguments = list(arguments)
        self.lines: list[Line] = []
        self.started = time.monotonic()
        self.ended = 0.0
        # what a pipe gets is not wrapped, and comes line by line
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(_ROOT)}
        self.process = subprocess.Popen(
            [*SHARPEN, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert self.process.stdout and self.process.stderr
        streams = {"out": self.process.stdout, "err": self.process.stderr}
        self._readers = [threading.Thread(target=self._read, args=one, daemon=True) for one in streams.items()]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: IO[str]) -> None:
        for text in stream:
            self.lines.append(Line(time.monotonic(), text.rstrip("\n"), name))

    @property
    def text(self) -> str:
        """All that it printed so far."""
        return "\n".join(line.text for line in list(self.lines))

    def line(self, pattern: str, seconds: float) -> Line:
        """The first line that a regular expression finds something in.

        Raises:
            AssertionError: it ended without such a line, or the deadline came first; with all that it printed.
        """

        def look() -> Line | None:
            return next((line for line in list(self.lines) if re.search(pattern, line.text)), None)

        def stop() -> str:
            if self.process.poll() is None:
                return ""
            self._join()
            return "" if look() else f"`sharpen {self.arguments[0]}` ended with exit code {self.process.returncode}"

        try:
            return wait_for(f"line with {pattern!r}", look, seconds, stop=stop)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text}") from None

    def end(self, seconds: float) -> int:
        """The exit code, once it ended. Raises AssertionError at the deadline, with all that it printed."""
        seconds *= patience()
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"`sharpen {self.arguments[0]}` did not end within {seconds:.0f} s\n{self.text}"
            ) from None
        self.ended = self.ended or time.monotonic()
        self._join()
        return code

    def kill(self) -> None:
        """End it, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)
        self._join()

    def _join(self) -> None:
        for reader in self._readers:
            reader.join(30)
