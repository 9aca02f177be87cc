"""The examples of a prepared data set, as a sorted array of 64-bit hashes: two arrays tell how many examples are new.

An example is a query with one of its relevant passages and what it is for. Texts count by their keys (`data.text`), so
another order of the rows, another file format or another spacing makes no example new. Passages that answer no query,
negatives and scores are no examples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import numpy as np
import polars as pl

from sharpen.data.dataset import DataSet
from sharpen.data.relevance import relevant
from sharpen.data.text import normalize

# no text that is normalised holds it: it counts as white space
_BETWEEN = "\x1f"


def example_hashes(data: DataSet, brought_splits: Collection[str]) -> np.ndarray:
    """Hashes of all examples of a data set.

    Args:
        data: the data set.
        brought_splits: splits that the user's input brought. Where the others were cut is no property of an example.

    Returns:
        (n,) uint64, sorted, without repeats.
    """
    split = pl.when(pl.col("split").is_in(list(brought_splits))).then("split").otherwise(pl.lit("train"))
    pairs = (
        relevant(data.qrels)
        .select("query_id", "passage_id", split=split)
        .join(data.queries.select("query_id", "instruction", query_key="text_key"), on="query_id")
        .join(data.corpus.select("passage_id", "text_key"), on="passage_id")
    )
    texts = (
        _BETWEEN.join((split, normalize(instruction or ""), f"{query:x}", f"{passage:x}"))
        for split, instruction, query, passage in pairs.select(
            "split", "instruction", "query_key", "text_key"
        ).iter_rows()
    )
    hashes = (int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") for text in texts)
    return np.unique(np.fromiter(hashes, np.uint64, pairs.height))


def as_bytes(hashes: np.ndarray) -> bytes:
    """The array (n,) as a file: 8 bytes an example, little-endian, ascending."""
    return hashes.astype("<u8").tobytes()


def from_bytes(data: bytes) -> np.ndarray:
    """The array of `as_bytes`."""
    return np.frombuffer(data, dtype="<u8").astype(np.uint64)


def difference(now: np.ndarray, before: np.ndarray) -> tuple[int, int]:
    """How many examples are new, and how many are gone: both arrays (n,) and (m,) sorted, without repeats."""
    common = np.intersect1d(now, before, assume_unique=True).size
    return now.size - common, before.size - common
