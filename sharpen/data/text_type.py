"""The two kinds of text that an encoder knows."""

from __future__ import annotations

from typing import Literal

TextType = Literal["query", "passage"]


def title(kind: TextType) -> str:
    """What a reader sees of the work."""
    return f"Encoding {'queries' if kind == 'query' else 'passages'}"
