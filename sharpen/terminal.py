"""Texts on a terminal: as they are, and without what a terminal obeys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# control characters but line end and tab, among them those that begin escape codes; line separators that only some
# terminals know; marks that reverse the order of what follows; halves of surrogate pairs
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# what a line cannot hold, or does not show: tabs, line ends, spaces without width
_UNSEEN = re.compile(r"[\t\n\xad\u200b\u200e\u200f\u2060\ufeff]")


def plain_console(**options: Any) -> Console:
    """A console that prints texts as they are: a path may hold brackets, a name colons."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, **options)


def printable(text: object) -> str:
    """A text that others wrote, with all that a terminal would obey, not show, written as an escape like ``\\x1b``."""
    return _UNSAFE.sub(_escape, str(text))


def one_line(text: object, most: int = 200) -> str:
    """Foreign text as it can stand in a message: `printable`, line ends and invisible marks escaped; cut at `most`."""
    shown = str(text)
    return _UNSEEN.sub(_escape, printable(shown if len(shown) <= most else f"{shown[:most]}..."))


def _escape(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]
