"""What fewer bits, fewer dimensions or an approximate index lose: recall of the true top k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from sharpen.errors import InputError
from sharpen.index.exact import top_k
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
    """

    passages: np.ndarray
    short_passages: np.ndarray
    queries: np.ndarray
    short_queries: np.ndarray
    described: str


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
    _, truth = top_k(embedded.queries, embedded.passages, RANKS)
    exhaustive: dict[str, float] = {}
    codes_only: dict[str, float] = {}
    for precision in get_args(Precision):
        try:
            codec = codec_for(precision, short_passages.shape[1], largest)
        except InputError:
            continue  # what cannot be stored so has no recall
        stored = _stored(short_passages, codec)
        exhaustive[precision] = recall(truth, top_k(short_queries, stored, RANKS)[1])
        if precision in ("int8", "binary"):
            coded = codec.decode(codec.encode(short_queries))
            codes_only[precision] = recall(truth, top_k(coded, stored, RANKS)[1])
    return {
        "k": RANKS,
        "queries": len(short_queries),
        "asked": embedded.described,
        "exhaustive": exhaustive,
        "codes_only": codes_only,
        "searched": recall(truth, index.search(short_queries, RANKS)[1]),
    }


def recall(truth: np.ndarray, found: np.ndarray) -> float:
    """Mean share of the true rows (n, k) that were found (n, k); -1 stands for no passage."""
    shares = [np.isin(row[row >= 0], hits).mean() for row, hits in zip(truth, found, strict=True)]
    return float(np.mean(shares))


def _stored(vectors: np.ndarray, codec: Codec) -> np.ndarray:
    return computed(vectors, codec.dimension, lambda block: codec.decode(codec.encode(block)))
