"""Progress of long work: a bar on a terminal, a plain line now and then in a pod's log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

SECONDS_BETWEEN_LINES = 10.0


class Reporter(Protocol):
    """What `progress` yields."""

    def advance(self, amount: float = 1, note: str = "") -> None: ...


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

    def print_line(self, final: bool = False) -> None:
        elapsed = max(time.monotonic() - self.start, 1e-9)
        rate = self.done / elapsed
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        tail = f"in {clock(elapsed)}" if final else f"{clock(left)} left"
        share = 100 * self.done / self.total if self.total else 100.0
        note = f" · {self.note}" if self.note else ""
        line = f"{self.what}: {share:3.0f} % · {self.done:,.0f}/{self.total:,.0f} {self.unit} · {rate:,.1f}/s · {tail}"
        print(line + note, flush=True)


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``; ``?`` when unknown."""
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def progress(what: str, total: float, unit: str) -> Iterator[Reporter]:
    """Report work of `total` units under the name `what`.

    On a terminal a rich bar with rate and time left; elsewhere plain lines, and one when the work is done.
    """
    if sys.stdout.isatty():
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
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns) as bar:
        task = bar.add_task(what, total=total, note="")

        class _Bar:
            def advance(self, amount: float = 1, note: str = "") -> None:
                if note:
                    bar.update(task, note=note)
                bar.update(task, advance=amount)

        yield _Bar()
