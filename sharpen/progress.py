"""Progress of long work: a bar on a command's terminal, else a line of the log now and then."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from sharpen import console

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0
_SILENT: ContextVar[bool] = ContextVar("silent", default=False)


class Reporter(Protocol):
    """What `progress` yields."""

    def advance(self, amount: float = 1, note: str = "") -> None: ...

    def expect(self, total: float) -> None:
        """The total is now known better."""
        ...


class Silent:
    """A reporter that prints nothing: of all processes of one work, one reports."""

    def advance(self, amount: float = 1, note: str = "") -> None: ...

    def expect(self, total: float) -> None: ...


class _Lines:
    """One line at least every `SECONDS_BETWEEN_LINES`: share done, rate, time left, note."""

    def __init__(self, what: str, total: float, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done, self.note = 0.0, ""
        self.start = self.last = time.monotonic()

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.done += amount
        self.note = note or self.note
        now = time.monotonic()
        if now - self.last >= SECONDS_BETWEEN_LINES:
            self.last = now
            self.print_line()

    def expect(self, total: float) -> None:
        self.total = total

    def print_line(self, final: bool = False) -> None:
        elapsed = max(time.monotonic() - self.start, 1e-9)
        rate = self.done / elapsed
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        tail = f"in {clock(elapsed)}" if final else f"{clock(left)} left"
        share = 100 * self.done / self.total if self.total else 100.0
        note = f" · {self.note}" if self.note else ""
        done = f"{_counted(self.done, self.total)}/{_counted(self.total, self.total)} {self.unit}"
        logger.info(f"{self.what}: {share:3.0f} % · {done} · {speed(rate, self.unit)} · {tail}{note}")


def _counted(value: float, total: float) -> str:
    """A count as a whole number; with two digits where there is less than one unit in all, such as of megabytes."""
    return f"{value:,.0f}" if total >= 1 or not total else f"{value:.2g}"


def speed(rate: float, unit: str) -> str:
    """A rate in units a second, or for slow work in seconds for each; ``?`` when nothing is done yet."""
    if rate <= 0:
        return "?"
    if rate < 1:
        return f"{1 / rate:,.1f} s each"
    return f"{rate:,.0f} {unit}/s" if rate >= 100 else f"{rate:,.1f} {unit}/s"


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``; ``?`` when unknown."""
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def silent() -> Iterator[None]:
    """No progress is shown of what is done in this block, such as the embedding of one query."""
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)


@contextmanager
def progress(what: str, total: float, unit: str) -> Iterator[Reporter]:
    """Report work of `total` units under the name `what`.

    On the terminal of a command a rich bar with rate and time left; elsewhere plain lines of the log, and one when the
    work is done.
    """
    if _SILENT.get():
        yield Silent()
        return
    if console.enabled() and sys.stdout.isatty():
        with _bar(what, total, unit) as reporter:
            yield reporter
        return
    lines = _Lines(what, total, unit)
    yield lines
    lines.print_line(final=True)


@contextmanager
def _bar(what: str, total: float, unit: str) -> Iterator[Reporter]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} " + unit),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns) as bar:
        task = bar.add_task(what, total=total, note="", speed="")
        start = time.monotonic()

        class _Bar:
            def advance(self, amount: float = 1, note: str = "") -> None:
                if note:
                    bar.update(task, note=note)
                bar.update(task, advance=amount)
                rate = bar.tasks[task].completed / max(time.monotonic() - start, 1e-9)
                bar.update(task, speed=speed(rate, unit))

            def expect(self, total: float) -> None:
                bar.update(task, total=total)

        yield _Bar()


@contextmanager
def without_bars() -> Iterator[None]:
    """Without the progress bars of `datasets`, which know nothing of terminals and logs."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()
