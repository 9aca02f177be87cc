"""What is asked: messages with data between tags, and the form of the answer.

The data may hold instructions of their own. They stand between tags whose name nobody can know before who writes them
(a hash of the data and the seed), and any such tag inside is taken out.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class ChatRequest(ABC):
    """What is asked once.

    Attributes:
        messages: as the API takes them.
        parameters: model, temperature, longest answer and seed.
    """

    messages: list[dict[str, str]]
    parameters: dict[str, Any]

    @cached_property
    @abstractmethod
    def key(self) -> str:
        """SHA-256 (hex) of all that the answer depends on, but for the endpoint's address."""

    @property
    @abstractmethod
    def schema(self) -> tuple[str, dict[str, Any]]:
        """Name and JSON schema of the answer."""

    @property
    def characters(self) -> int:
        """Length of the messages."""
        return sum(len(message["content"]) for message in self.messages)


def nonce(texts: Sequence[str], seed: int) -> str:
    """The end of the name of a request's tags, which the writers of its `texts` cannot know."""
    text = "\n".join([str(seed), *texts])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def delimited(tag: str, text: str) -> str:
    """The text between tags, without anything inside that looks like one, or like a turn of a conversation.

    Args:
        tag: ``<kind>-<nonce>``.
        text: data.
    """
    kind = re.escape(tag.partition("-")[0])
    inside = re.sub(rf"</?\s*{kind}-[^>]*>|<\|[^|>]*\|>", " ", text, flags=re.IGNORECASE)
    return f"<{tag}>\n{inside}\n</{tag}>"
