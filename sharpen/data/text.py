"""What it means for two texts to be the same, the ids and keys made from texts, and what a passage's text is.

Two texts are the same where they are equal after `normalize`: that decides what is merged, what leaks from one split
into another, and what is never a negative (`data.relevance`). What is encoded once is the exact text (`data.dedup`).
"""

from __future__ import annotations

import hashlib
import unicodedata

import polars as pl
import pyarrow as pa

# What str.strip() takes away, which is not all that polars does; there is none above U+3000.
_SPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))
# Texts of a column that are Python strings at once.
_SLICE = 20_000


def normalize(text: str) -> str:
    """The text with Unicode compatibility forms folded (NFKC), case folded and runs of white space made one space."""
    # the same for plain text, in a third of the time
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip(" ").lower()
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_key(text: str) -> int:
    """A 64-bit number, equal for texts that are the same: the first 8 bytes of the SHA-256 of the normalised text."""
    return int.from_bytes(hashlib.sha256(normalize(text).encode()).digest()[:8], "big")


def key_id(key: int) -> str:
    """A text's key as an id of 16 hex digits, for texts that come without one."""
    return f"{key:016x}"


def key_ids(keys: pl.Series) -> pl.Series:
    """`key_id` of each key, UInt64 without nulls."""
    big_endian = pa.py_buffer(keys.to_numpy().astype(">u8").tobytes())
    return pl.Series(keys.name, pa.Array.from_buffers(pa.binary(8), len(keys), [None, big_endian])).bin.encode("hex")


def text_keys(texts: pl.Series) -> pl.Series:
    """A column named text_key: `text_key` of each text, UInt64; null for null."""
    parts = [
        pl.Series([None if text is None else text_key(text) for text in texts.slice(start, _SLICE)], dtype=pl.UInt64)
        for start in range(0, len(texts), _SLICE)
    ]
    return pl.concat([pl.Series("text_key", [], pl.UInt64), *parts])


def passage_text(title: str, text: str) -> str:
    """What is encoded for a passage: title and text joined by a space, as BEIR's reference encoders do."""
    return f"{title} {text}".strip() if title else text


def passage_texts(corpus: pl.DataFrame) -> pl.Series:
    """`passage_text` of each row of a table with the columns title and text; a text without a title is not copied."""
    titled = pl.col("title").fill_null("") != ""
    joined = pl.concat_str("title", "text", separator=" ").str.strip_chars(_SPACE)
    return corpus.select(pl.when(titled).then(joined).otherwise("text").alias("text")).to_series()
