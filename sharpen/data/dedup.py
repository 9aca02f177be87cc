"""De-duplicate texts by a 128-bit hash of each, which is also the key under which its vector is cached."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np

KEY_BYTES = 16
KEY_TYPE = np.dtype(f"S{KEY_BYTES}")


@dataclass(frozen=True)
class UniqueTexts:
    """The different ones among n texts, in the order in which they first occur.

    Attributes:
        first_index: (u,) where each of them first occurs.
        inverse: (n,) which of them each text is.
        keys: (u,) BLAKE2b of each, with its instruction.
    """

    first_index: np.ndarray
    inverse: np.ndarray
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.first_index)


def unique_texts(texts: Sequence[str], instructions: Sequence[str | None] | None = None) -> UniqueTexts:
    """The different ones among texts; an instruction of a text's own makes it another text, an empty one does not."""
    keys = exact_keys(texts, instructions)
    found, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return UniqueTexts(first[order], rank[inverse], found[order])


def select(
    rows: np.ndarray, texts: Sequence[str], instructions: Sequence[str | None] | None
) -> tuple[list[str], list[str | None] | None]:
    """Texts and instructions of these `rows` (n,), or None for no instructions."""
    numbers: list[int] = rows.tolist()
    return [texts[row] for row in numbers], [instructions[row] for row in numbers] if instructions else None


def exact_keys(texts: Sequence[str], instructions: Sequence[str | None] | None = None) -> np.ndarray:
    """The keys (n,) of texts with their instructions; `data.text.text_keys` are equal for more of them."""
    pairs = zip(texts, repeat("", len(texts)) if instructions is None else instructions, strict=True)
    return np.array([_key(text, instruction or "") for text, instruction in pairs], dtype=KEY_TYPE)


def _key(text: str, instruction: str) -> bytes:
    # the lengths separate instruction and text; a lone surrogate must not end a run
    joined = f"{len(instruction)} {instruction}{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=KEY_BYTES).digest()
