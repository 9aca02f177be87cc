"""Texts on a terminal: as they are, and without what a terminal obeys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# control characters but line end and tab, among them those that begin escape codes; line separators that only some
# terminals know; marks that reverse the order of what follows; halves of surrogate pairs
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain_console(**options: Any) -> Console:
    """A console that prints texts as they are: a path may hold brackets, a name colons."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, **options)


def printable(text: object) -> str:
    """A text that others wrote, with all that a terminal would obey, not show, written as an escape like ``\\x1b``."""
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], str(text))
