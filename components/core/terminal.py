"""Texts on a terminal as they are."""

from __future__ import annotations

from typing import Any

from rich.console import Console


def plain_console(**options: Any) -> Console:
    """A console that prints texts as they are: a path may hold brackets, a name colons."""
    return Console(highlight=False, markup=False, emoji=False, **options)


def without_controls(text: str) -> str:
    """A text that others wrote, without what a terminal obeys, such as escape codes."""
    return "".join(character for character in text if character.isprintable() or character in "\n\t")
