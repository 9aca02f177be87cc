"""The examples of a data set, as 64-bit hashes: two sorted arrays tell how many examples are new.

An example is a query with one of its relevant passages and what it is for. Texts count by their keys (`data.text`), so
another order of the rows, another file format or another spacing makes no example new. A pair with a label of its
similarity is an example, and so is a text with a label. Passages that answer no query, negatives and scores are none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import numpy as np
import polars as pl

from sharpen.data.dataset import DataSet
from sharpen.data.relevance import MASKED, relevant
from sharpen.data.text import normalize

FILE = "examples.u64"
"""Of a prepared data set of which a part was left out: the hashes of all examples that were read."""

# no text that is normalised holds it: it counts as white space
_BETWEEN = "\x1f"


def examples_of(data: DataSet, brought_splits: Collection[str]) -> pl.DataFrame:
    """Every example of a data set with its hash.

    Args:
        data: the data set.
        brought_splits: splits that the user's input brought. Where the others were cut is no property of an example.

    Returns:
        query_id, passage_id (null for a text with a label), split, example (UInt64).
    """
    labelled = relevant(data.qrels).filter(pl.col("split") != MASKED).select("query_id", "passage_id", "split")
    none = pl.lit(None, dtype=pl.String)
    rated = data.similarity_labels.select("query_id", "passage_id", "split", label=pl.col("label").cast(pl.String))
    texts = data.queries.filter(pl.col("label") != "").select("query_id", "split", "label", passage_id=none)
    columns = ["query_id", "passage_id", "split", "label"]
    pairs = (
        pl.concat([labelled.with_columns(label=none).select(columns), rated.select(columns), texts.select(columns)])
        .join(data.queries.select("query_id", "instruction", query_key="text_key"), on="query_id")
        .join(data.corpus.select("passage_id", passage_key="text_key"), on="passage_id", how="left")
    )
    use = pl.when(pl.col("split").is_in(list(brought_splits))).then("split").otherwise(pl.lit("train"))
    parts = pairs.select(use, "instruction", "query_key", "passage_key", "label").iter_rows()
    hashes = [_hash(*part) for part in parts]
    return pairs.select("query_id", "passage_id", "split").with_columns(example=pl.Series(hashes, dtype=pl.UInt64))


def example_hashes(data: DataSet, brought_splits: Collection[str]) -> np.ndarray:
    """(n,) uint64, sorted, without repeats: hashes of the `examples_of` a data set, with the same arguments."""
    return np.unique(examples_of(data, brought_splits)["example"].to_numpy())


def _hash(split: str, instruction: str | None, query: int, passage: int | None, label: str | None) -> int:
    parts = [split, normalize(instruction or ""), f"{query:x}"]
    parts += [] if passage is None else [f"{passage:x}"]
    parts += [] if label is None else [f"label {label}"]
    return int.from_bytes(hashlib.blake2b(_BETWEEN.join(parts).encode(), digest_size=8).digest(), "little")


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
