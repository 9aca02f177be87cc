"""What fewer bits, fewer dimensions or an approximate index lose: recall of the true top k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import polars as pl

from sharpen.embeddings import PassageRows
from sharpen.errors import InputError
from sharpen.index.distinct import top_passages
from sharpen.index.faiss_file import Searchable
from sharpen.index.quantization import Codec, codec_for, computed
from sharpen.index.settings import Precision

RANKS = 10


@dataclass(frozen=True)
class Embedded:
    """Embeddings of passages, and of queries that stand for those to come.

    Attributes:
        passages, queries: (m, D) and (n, D), the model's whole embeddings.
        short_passages, short_queries: (m, d) and (n, d), cut to the stored dimensions.
        described: what the queries are, in words.
        table: (m) id, title and text of each of the passages' vectors.
        rows: which passage each of them is of; None: each passage has one.
    """

    passages: np.ndarray
    short_passages: np.ndarray
    queries: np.ndarray
    short_queries: np.ndarray
    described: str
    table: pl.DataFrame
    rows: PassageRows | None = None

    def nearest(self, queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
        """The top passages (n, `RANKS`) of queries (n, .), by vectors (m, .) in the order of `passages`."""
        return top_passages(queries, passages, self.rows, RANKS)[1]


def measure(embedded: Embedded, largest: float, index: Searchable) -> dict[str, Any]:
    """Recall@10 of each precision, and of the index as it is searched.

    Truth is the exact search with the model's whole embeddings in float32.

    Args:
        embedded: passages and queries.
        largest: the largest |x| of the stored dimensions.
        index: what was made of them.

    Returns:
        ``k``, ``queries``, ``asked``, ``exhaustive`` (precision -> recall of a float32 query against all stored
        vectors), ``codes_only`` (precision -> recall if the query is coded too and codes are compared with codes),
        ``searched`` (recall of the index).
    """
    short_queries, short_passages = embedded.short_queries, embedded.short_passages
    truth = embedded.nearest(embedded.queries, embedded.passages)
    exhaustive: dict[str, float] = {}
    codes_only: dict[str, float] = {}
    for precision in get_args(Precision):
        try:
            codec = codec_for(precision, short_passages.shape[1], largest)
        except InputError:
            continue  # what cannot be stored so has no recall
        stored = _stored(short_passages, codec)
        exhaustive[precision] = recall(truth, embedded.nearest(short_queries, stored))
        if precision in ("int8", "binary"):
            coded = codec.decode(codec.encode(short_queries))
            codes_only[precision] = recall(truth, embedded.nearest(coded, stored))
    searched = index.search(short_queries, RANKS)[1]
    searched = searched if embedded.rows is None else embedded.rows.passages_of(searched)
    return {
        "k": RANKS,
        "queries": len(short_queries),
        "asked": embedded.described,
        "exhaustive": exhaustive,
        "codes_only": codes_only,
        "searched": recall(truth, searched),
    }


def recall(truth: np.ndarray, found: np.ndarray) -> float:
    """Mean share of the true rows (n, k) that were found (n, k); -1 stands for no passage."""
    shares = [np.isin(row[row >= 0], hits).mean() for row, hits in zip(truth, found, strict=True)]
    return float(np.mean(shares))


def _stored(vectors: np.ndarray, codec: Codec) -> np.ndarray:
    return computed(vectors, codec.dimension, lambda block: codec.decode(codec.encode(block)))
