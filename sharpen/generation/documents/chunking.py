"""Long texts as passages that share their borders, cut where a paragraph, a sentence or at least a word ends."""

from __future__ import annotations

import re

# what may end a passage, with the white space after it: the end of a paragraph, then that of a sentence
_UNIT = re.compile(r".+?(?:\n\s*\n|(?<=[.!?…])\s+|(?<=[。！？])\s*|\Z)", re.DOTALL)


def chunk(text: str, size: int, overlap: int) -> list[str]:
    """The text as passages, stripped, each of at most `size` characters.

    A passage begins with the last whole sentences (of a long one, the last words) of the passage before, as far as they
    are at most `overlap` characters. Only a word longer than `size` is cut.

    Args:
        text: a document, or a section of it.
        size: longest passage in characters.
        overlap: most characters that neighbouring passages share.
    """
    text = text.strip()
    if len(text) <= size:
        return [text] if text else []
    passages: list[str] = []
    current: list[str] = []
    for unit in _units(text, size):
        if current and _length([*current, unit]) > size:
            passages.append("".join(current).strip())
            current = _tail(current, min(overlap, size - len(unit.rstrip())))
        current.append(unit)
    passages.append("".join(current).strip())
    return passages


def _length(units: list[str]) -> int:
    return len("".join(units).strip())


def _tail(units: list[str], most: int) -> list[str]:
    """The last whole units of at most so many characters in all; where not even one fits, its last words."""
    tail: list[str] = []
    for unit in reversed(units):
        if len(unit) + sum(map(len, tail)) > most:
            break
        tail.insert(0, unit)
    if tail or most <= 0:
        return tail
    words = units[-1][-most:].partition(" ")[2]
    return [words] if words.strip() else []


def _units(text: str, size: int) -> list[str]:
    """Sentences with the white space after them; those longer than `size` in pieces that end with a word."""
    units: list[str] = []
    for found in _UNIT.finditer(text):
        unit = found[0]
        while len(unit.rstrip()) > size:
            cut = next((end for end in range(size, 1, -1) if unit[end - 1].isspace()), size)
            units.append(unit[:cut])
            unit = unit[cut:]
        units.append(unit)
    return units
