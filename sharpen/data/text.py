"""What it means for two texts to be the same, the ids and keys made from texts, and what a passage's text is.

Two texts are the same where they are equal after `normalize`: that decides what is merged, what leaks from one split
into another, and what is never a negative (`data.relevance`). What is encoded once is the exact text (`data.dedup`).
"""

from __future__ import annotations

import unicodedata
from hashlib import sha256

import numpy as np
import polars as pl
import pyarrow as pa

SPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))
"""What str.strip() takes away, which is not all that polars does; there is none above U+3000."""
# Texts of a column that are in memory a second time at once.
_SLICE = 4_000


def normalize(text: str) -> str:
    """The text with Unicode compatibility forms folded (NFKC), case folded and runs of white space made one space."""
    # the same for plain text, in a third of the time
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip(" ").lower()
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_key(text: str) -> int:
    """A 64-bit number, equal for texts that are the same: the first 8 bytes of the SHA-256 of the normalised text."""
    return int.from_bytes(sha256(normalize(text).encode()).digest()[:8], "big")


def key_id(key: int) -> str:
    """A text's key as an id of 16 hex digits, for texts that come without one."""
    return f"{key:016x}"


def key_ids(keys: pl.Series) -> pl.Series:
    """`key_id` of each key, UInt64 without nulls."""
    big_endian = pa.py_buffer(keys.to_numpy().astype(">u8").tobytes())
    return pl.Series(keys.name, pa.Array.from_buffers(pa.binary(8), len(keys), [None, big_endian])).bin.encode("hex")


def text_keys(texts: pl.Series) -> pl.Series:
    """A column named text_key: `text_key` of each text, UInt64; null for null."""
    parts = [_keys_of(texts.slice(start, _SLICE)) for start in range(0, len(texts), _SLICE)]
    return pl.concat([pl.Series("text_key", [], pl.UInt64), *parts])


def _keys_of(texts: pl.Series) -> pl.Series:
    """`text_keys` of a few texts; plain ones, as `normalize` calls them, are lowered and cut at once."""
    column = texts.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, values = column.buffers()
    bounds = np.frombuffer(offsets, np.int64)[column.offset :][: len(column) + 1]
    data = np.frombuffer(values or b"", np.uint8)[: bounds[-1]]
    is_space = data == ord(" ")
    odd = (data < ord(" ")) | (data > ord("~"))
    odd[1:] |= is_space[1:] & is_space[:-1]
    is_capital = data - np.uint8(ord("A")) < 26
    lowered = memoryview((data | (is_capital.view(np.uint8) << 5)).tobytes())
    starts, ends = bounds[:-1].copy(), bounds[1:].copy()
    filled = np.flatnonzero(starts < ends)
    starts[filled] += is_space[starts[filled]]
    ends[filled] = np.maximum(starts[filled], ends[filled] - is_space[ends[filled] - 1])
    digests = [sha256(lowered[start:end]).digest() for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    # a space at the end of one text and one at the beginning of the next are marked too, which costs time only
    for row in np.unique(np.searchsorted(bounds, np.flatnonzero(odd), side="right") - 1).tolist():
        digests[row] = sha256(normalize(texts[row] or "").encode()).digest()
    keys = np.frombuffer(b"".join(digests), ">u8")[:: sha256().digest_size // 8].astype(np.uint64)
    return pl.select(pl.when(pl.lit(texts.is_not_null())).then(pl.lit(pl.Series("text_key", keys)))).to_series()


def passage_text(title: str, text: str) -> str:
    """What is encoded for a passage: title and text joined by a space, as BEIR's reference encoders do."""
    return f"{title} {text}".strip() if title else text


def passage_texts(corpus: pl.DataFrame) -> pl.Series:
    """`passage_text` of each row of a table with the columns title and text; a text without a title is not copied."""
    titled = pl.col("title").fill_null("") != ""
    if not corpus.select(titled.any()).item():
        return corpus["text"]
    joined = pl.concat_str("title", "text", separator=" ").str.strip_chars(SPACE)
    return corpus.select(pl.when(titled).then(joined).otherwise("text").alias("text")).to_series()
