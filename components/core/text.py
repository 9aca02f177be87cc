"""What it means for two texts to be the same, and the ids made from texts."""

from __future__ import annotations

import hashlib
import unicodedata


def normalised(text: str) -> str:
    """The text with Unicode compatibility forms folded (NFKC), case folded and runs of white space made one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_id(text: str) -> str:
    """A stable id: the first 16 hex digits of the SHA-256 of the normalised text."""
    return hashlib.sha256(normalised(text).encode()).hexdigest()[:16]


def passage_text(title: str, text: str) -> str:
    """What is encoded for a passage: title and text joined by a space, as BEIR's reference encoders do."""
    return f"{title} {text}".strip() if title else text
