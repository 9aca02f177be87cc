"""The table of results: what was looked at, how long it took, how long it may take."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Figure:
    """Something that was measured.

    Attributes:
        what: in words.
        value: seconds, or a count.
        limit: the most that is allowed; None: there is none.
        unit: of both.
    """

    what: str
    value: float
    limit: float | None
    unit: str = "s"

    def __str__(self) -> str:
        of = f" of {self.limit:.0f}" if self.limit is not None else ""
        return f"{self.what} {self.value:.0f}{of} {self.unit}"


@dataclass
class Row:
    """A test and how it ended.

    Attributes:
        name: of the test.
        outcome: passed, failed, skipped.
        seconds: it took.
        reason: why it failed or was skipped, in one line.
        figures: what it measured.
    """

    name: str
    outcome: str = ""
    seconds: float = 0.0
    reason: str = ""
    figures: list[Figure] = field(default_factory=list)


@dataclass
class Figures:
    """What one test measures.

    Args:
        factor: that every limit is multiplied by.
    """

    factor: float = 1.0
    found: list[Figure] = field(default_factory=list)

    def soon(self, what: str, seconds: float, limit: float) -> None:
        """Write a time down. Raises AssertionError when it is over its limit."""
        self.found.append(Figure(what, seconds, limit * self.factor))
        assert seconds <= limit * self.factor, f"{what} after {seconds:.0f} s, {limit * self.factor:.0f} s at most"

    def at_most(self, what: str, count: float, limit: float, unit: str) -> None:
        """Write a count down. Raises AssertionError when it is over its limit."""
        self.found.append(Figure(what, count, limit, unit))
        assert count <= limit, f"{what}: {count:.0f} {unit}, {limit:.0f} at most"

    def note(self, what: str, value: float, unit: str = "s") -> None:
        """Write something down that has no limit."""
        self.found.append(Figure(what, value, None, unit))


def as_markdown(rows: Iterable[Row], about: str) -> str:
    """The table as a page; `about` says in one line what was tested."""
    lines = [
        "# Sharpen on a cluster",
        "",
        f"{about} {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}",
        "",
        "| test | result | took | measured |",
        "|---|---|---:|---|",
    ]
    for row in rows:
        said = "; ".join(_cell(text) for text in [*map(str, row.figures), row.reason] if text)
        lines.append(f"| {_cell(row.name)} | {row.outcome} | {row.seconds:.0f} s | {said} |")
    return "\n".join(lines) + "\n"


def as_lines(rows: Iterable[Row]) -> list[str]:
    """The table for a terminal."""
    lines = []
    for row in rows:
        lines.append(f"{row.outcome:<8} {row.seconds:>6.0f} s  {row.name}")
        lines += [f"{'':<18} {figure}" for figure in row.figures]
        lines += [f"{'':<18} {row.reason}"] if row.reason else []
    return lines


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:300]
