"""What a person sees of a local run: one headed block a step; everything else goes to the log file."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from typing import IO

from pipeline.local.kfp_local import NOT_REUSED
from sharpen.progress import clock
from sharpen.registry.outcome import is_marker
from sharpen.store import local_store
from sharpen.terminal import printable

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_EXECUTING = re.compile(r"Executing task '([^']+)'")
_CACHED = re.compile(r"Task '?([\w-]+)'? cache hit")
_FINISHED = re.compile(r"Task '([^']+)' finished with status (\w+)")
_KFP_LINE = re.compile(r"^\s*\d\d:\d\d:\d\d\.\d+ - (INFO|WARNING|ERROR) - ")
_EXECUTOR_LINE = "[KFP Executor"
_EXECUTOR_INPUT = "Got executor_input:"
_STRING = re.compile(r'"(?:\\.|[^"\\])*"')


class StepView(io.TextIOBase):
    """A stream that stands in for stdout while kfp.local runs.

    Args:
        screen: where a person looks.
        log: file that receives every line unchanged.
    """

    def __init__(self, screen: IO[str], log: Path) -> None:
        self.screen = screen
        self.log_path = log
        self.log = local_store.open_private(log, "a", encoding="utf-8")
        self.pending = ""
        self.step = ""
        self.failed = ""
        self.full_disk = ""  # the first line that says so
        self.note = ""  # why the next step is not taken from the cache
        self.titles: dict[str, str] = {}  # task name -> what a person reads
        self.in_outcome = False
        self.open_braces: int | None = None  # while KFP prints a step's whole input as JSON
        self.started = self.step_started = time.monotonic()

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.pending += text
        *lines, self.pending = self.pending.split("\n")
        for line in lines:
            self._line(line)
        return len(text)

    def flush(self) -> None:
        self.screen.flush()
        self.log.flush()

    def close(self) -> None:
        if self.closed:
            return
        if self.pending:
            self._line(self.pending)
            self.pending = ""
        super().close()  # flushes, so it comes first
        self.log.close()

    def _line(self, raw: str) -> None:
        self.log.write(raw + "\n")
        line = _ANSI.sub("", raw)
        if not self.full_disk and "no space left" in line.lower():
            self.full_disk = line.strip()
        if self.open_braces is not None:
            bare = _STRING.sub("", line)
            self.open_braces += bare.count("{") - bare.count("}")
            self.open_braces = self.open_braces or None
        elif _KFP_LINE.match(line):
            self._kfp(line)
        elif _EXECUTOR_LINE in line:
            self.open_braces = 0 if _EXECUTOR_INPUT in line else None
        elif is_marker(line.strip()):
            # the run's end shows the outcome
            self.in_outcome = not self.in_outcome
        elif self.step and line.strip() and not self.in_outcome:
            self._show("    " + line.strip())

    def _kfp(self, line: str) -> None:
        if found := _EXECUTING.search(line):
            self.step, self.step_started = found[1], time.monotonic()
            self._show(f"\n{clock(self.step_started - self.started):>6}  {self.titles.get(self.step, self.step)}")
            if self.note:
                self._show(f"    {self.note}; doing it again")
                self.note = ""
        elif NOT_REUSED in line:
            self.note = NOT_REUSED + line.partition(NOT_REUSED)[2].strip()
        elif found := _CACHED.search(line):
            now = clock(time.monotonic() - self.started)
            self._show(
                f"\n{now:>6}  {self.titles.get(found[1], found[1])}\n  nothing changed: taken from an earlier run"
            )
            self.step = ""
        elif found := _FINISHED.search(line):
            took = clock(time.monotonic() - self.step_started)
            self._show(f"  {'done' if found[2] == 'SUCCESS' else 'failed'} in {took}")
            if found[2] != "SUCCESS":
                # the first: the exit task may fail for the same reason
                self.failed = self.failed or self.step
            self.step = ""

    def _show(self, line: str) -> None:
        print(printable(line), file=self.screen, flush=True)
