"""Exact search by inner product, in blocks of bounded memory, with an answer that does not depend on the blocks.

A matrix product may give the same pair of vectors sums that differ in the last bit, depending on where in the matrix
the pair stands. Ranking by it would break ties differently for every block size, thread count and shard. So the matrix
product only finds the candidates: everything that its rounding error could put among the k best. Their scores are then
computed pair by pair (`pair_scores`), always in the same order of additions, and ranked by score and index. On
3,000 x 16,000 vectors of length 384 and k = 210 that takes 0.52 s with one thread and 0.44 s with two, where faiss'
``IndexFlatIP`` takes 0.40 s and 0.22 s and leaves ties open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import faiss
import numpy as np

from sharpen.errors import InputError

QUERY_BLOCK = 1024
PASSAGE_BLOCK = 4096
NO_PASSAGE = -1

# Of the rows of queries and passages that pairs are scored from at once.
_PAIR_BYTES = 256 * 2**20
_EMPTY_KEY = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_INDEX_BITS = np.uint64(32)


@dataclass(frozen=True)
class Neighbours:
    """The best passages of a run of queries.

    Attributes:
        start: row of the first query of the block in all queries.
        scores: inner products, float32 (n, k), descending; -inf where fewer than k passages exist.
        indices: rows of the passages, int64 (n, k); `NO_PASSAGE` where fewer than k passages exist.
    """

    start: int
    scores: np.ndarray
    indices: np.ndarray


def top_k(
    queries: np.ndarray,
    passages: np.ndarray,
    k: int,
    *,
    query_block: int = QUERY_BLOCK,
    passage_block: int = PASSAGE_BLOCK,
    device: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k passages with the highest inner product for each query.

    Equal scores are ordered by the smaller index, at rank k too, whatever the block sizes. Pass passages in the order
    of their ids, and ties are broken by id.

    Args:
        queries: (n, d), any float type; a memory-mapped array is read block by block.
        passages: (m, d), likewise.
        k: how many passages to return per query.
        query_block: queries that are scored at once.
        passage_block: passages that are scored at once. Memory beyond inputs and result is a few times
            ``query_block * passage_block * 4`` bytes.
        device: the GPU that computes the matrix products, such as ``cuda``; none by default. The answer is the same.

    Returns:
        scores, float32 (n, k), and indices, int64 (n, k); padded with -inf and -1 when k > m.

    Raises:
        InputError: the dimensions differ, or a vector holds NaN or infinity (the first such row is named).
    """
    scores = np.empty((len(queries), k), dtype=np.float32)
    indices = np.empty((len(queries), k), dtype=np.int64)
    blocks = top_k_blocks(queries, passages, k, query_block=query_block, passage_block=passage_block, device=device)
    for found in blocks:
        rows = slice(found.start, found.start + len(found.scores))
        scores[rows], indices[rows] = found.scores, found.indices
    return scores, indices


def top_k_blocks(
    queries: np.ndarray,
    passages: np.ndarray,
    k: int,
    *,
    query_block: int = QUERY_BLOCK,
    passage_block: int = PASSAGE_BLOCK,
    device: str | None = None,
) -> Iterator[Neighbours]:
    """`top_k`, yielding one block of queries after another, so that a caller can write at once; arguments as there.

    The input is checked when this is called, before the first block is computed.
    """
    if k < 1 or query_block < 1 or passage_block < 1:
        raise ValueError(
            f"k, query_block and passage_block must be at least 1, not {k}, {query_block}, {passage_block}"
        )
    if queries.ndim != 2 or passages.ndim != 2 or queries.shape[1] != passages.shape[1]:
        raise InputError(
            f"queries have shape {queries.shape} and passages {passages.shape}: both must be matrices of vectors "
            "of the same length; encode both with the same model"
        )
    if len(passages) >= 1 << 32:
        raise InputError(f"{len(passages):,} passages: at most {(1 << 32) - 1:,} can be searched at once")
    query_norms = vector_lengths(queries, "queries", block=passage_block)
    passage_norms = vector_lengths(passages, "passages", block=passage_block)
    longest = float(passage_norms.max(initial=0.0))
    if float(query_norms.max(initial=0.0)) * longest >= float(np.finfo(np.float32).max):
        raise InputError("the vectors are so long that their inner products overflow; normalise the embeddings")
    # |computed - true| <= d * 2^-24 * |q| * |p| for any order of additions (Higham, Accuracy and Stability of
    # Numerical Algorithms, 3.1). Candidate and k-th best are both off by that, in the product and pair by pair; the
    # k-th best of earlier blocks has its final score, so a long passage makes its own block slow, and no other.
    starts = np.arange(0, len(passages), passage_block)
    lengths = np.maximum.reduceat(passage_norms, starts) if len(starts) else starts
    slack = 4.0 * (queries.shape[1] + 2) * 2.0**-24 * query_norms

    def blocks() -> Iterator[Neighbours]:
        for start in range(0, len(queries), query_block):
            block = _floats(queries[start : start + query_block])
            keys = _best_keys(block, slack[start : start + query_block], passages, lengths, k, passage_block, device)
            yield Neighbours(start, *_unpacked(keys))

    return blocks()


def pair_scores(
    queries: np.ndarray, passages: np.ndarray, query_rows: np.ndarray, passage_rows: np.ndarray
) -> np.ndarray:
    """Inner products of given pairs, float32 (n,): bit for bit the score that `top_k` gives to the same pair.

    Args:
        queries: (., d), any float type.
        passages: (., d), likewise.
        query_rows: row of the query of each pair, (n,).
        passage_rows: row of the passage of each pair, (n,).

    Memory beyond inputs and result: about 256 MiB, whatever d and n are.
    """
    scores = np.empty(len(query_rows), dtype=np.float32)
    at_once = max(1, _PAIR_BYTES // (2 * queries.shape[1] * np.dtype(np.float32).itemsize))
    for start in range(0, len(query_rows), at_once):
        part = slice(start, start + at_once)
        scores[part] = _gathered(queries, passages, query_rows[part], passage_rows[part])
    return scores


def _gathered(
    queries: np.ndarray, passages: np.ndarray, query_rows: np.ndarray, passage_rows: np.ndarray
) -> np.ndarray:
    """Scores of some pairs, whose rows are copied while this runs."""
    distinct_queries, query_of = np.unique(query_rows, return_inverse=True)
    distinct_passages, passage_of = np.unique(passage_rows, return_inverse=True)
    return _pairwise(_floats(queries[distinct_queries]), _floats(passages[distinct_passages]), query_of, passage_of)


def best_of(queries: np.ndarray, passages: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best among given candidates of each query, scored and ordered as `top_k` does it.

    Args:
        queries: (n, d), any float type.
        passages: (m, d), likewise.
        candidates: (n, c) rows of passages in any order, none twice for one query; `NO_PASSAGE` where there is none.
        k: how many to return per query.

    Returns:
        scores, float32 (n, k), and indices, int64 (n, k); padded with -inf and `NO_PASSAGE`.
    """
    keys = np.full((len(queries), max(k, candidates.shape[1])), _EMPTY_KEY, dtype=np.uint64)
    rows, columns = np.nonzero(candidates != NO_PASSAGE)
    numbers = candidates[rows, columns]
    keys[rows, columns] = _packed(pair_scores(queries, passages, rows, numbers), numbers)
    keys.sort(axis=1)
    return _unpacked(keys[:, :k])


def _best_keys(
    queries: np.ndarray,
    unit_slack: np.ndarray,
    passages: np.ndarray,
    lengths: np.ndarray,
    k: int,
    passage_block: int,
    device: str | None,
) -> np.ndarray:
    """Keys (n, k) of the best k passages of one block of queries, ascending: the best first.

    By how much a candidate and the k-th best may be off together is `unit_slack` (n) times the longest vector's length
    in their block of passages, of which `lengths` has one each.
    """
    best = np.full((len(queries), k), _EMPTY_KEY, dtype=np.uint64)
    threshold = np.full(len(queries), -np.inf)
    find = _finder(queries, device)
    for length, start in zip(lengths, range(0, len(passages), passage_block), strict=True):
        slack = unit_slack * length + 1e-37
        block = _floats(passages[start : start + passage_block])
        rows, columns = find(block, threshold - slack, slack, k)
        exact = _pairwise(queries, block, rows, columns)
        best = _merged(best, rows, _packed(exact, columns + start), k)
        threshold = _unpacked(best[:, -1:])[0][:, 0].astype(np.float64)
    return np.sort(best, axis=1)


def _finder(queries: np.ndarray, device: str | None) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    if device is None:
        return lambda block, floor, slack, k: _candidates(queries @ block.T, floor, slack, k)
    from sharpen.index.exact_device import finder  # torch is not needed otherwise

    return finder(queries, device)


def _candidates(scores: np.ndarray, floor: np.ndarray, slack: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, in row order, of all scores that may be among the k best of their row: none is missed."""
    passed = scores >= floor[:, None]
    if scores.shape[1] > k and np.count_nonzero(passed) > 2 * k * len(scores):
        kth = -np.partition(-scores, k - 1, axis=1)[:, k - 1]
        passed = scores >= np.maximum(floor, kth - slack)[:, None]
    rows, columns = np.nonzero(passed)
    return rows, columns


def _merged(best: np.ndarray, rows: np.ndarray, keys: np.ndarray, k: int) -> np.ndarray:
    """The k smallest keys of each row (the last of them in the last column) among those kept and the new ones."""
    counts = np.bincount(rows, minlength=len(best))
    most = int(counts.max(initial=0))
    if not most:
        return best
    wide = np.full((len(best), k + most), _EMPTY_KEY, dtype=np.uint64)
    wide[:, :k] = best
    column = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    wide[rows, k + column] = keys
    return np.partition(wide, k - 1, axis=1)[:, :k]


def _pairwise(queries: np.ndarray, passages: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    out = np.empty(len(rows), dtype=np.float32)
    if len(rows):
        left, right = np.ascontiguousarray(rows, dtype=np.int64), np.ascontiguousarray(columns, dtype=np.int64)
        faiss.pairwise_indexed_inner_product(  # pyright: ignore[reportAttributeAccessIssue]
            queries.shape[1],
            len(rows),
            faiss.swig_ptr(queries),
            faiss.swig_ptr(left),
            faiss.swig_ptr(passages),
            faiss.swig_ptr(right),
            faiss.swig_ptr(out),
        )
    return out


def _packed(scores: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """One integer a hit whose ascending order is score descending, then index ascending: ties need no second look."""
    bits = (scores + np.float32(0.0)).view(np.uint32)  # adding zero makes -0.0 and 0.0 the tie that they are
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(0x8000_0000))
    return ((~ascending).astype(np.uint64) << _INDEX_BITS) | indices.astype(np.uint64)


def _unpacked(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and indices of keys; -inf and -1 for empty ones."""
    ascending = ~(keys >> _INDEX_BITS).astype(np.uint32)
    bits = np.where(ascending >> 31, ascending & np.uint32(0x7FFF_FFFF), ~ascending)
    empty = keys == _EMPTY_KEY
    scores = np.where(empty, np.float32(-np.inf), bits.astype(np.uint32).view(np.float32))
    indices = np.where(empty, NO_PASSAGE, (keys & np.uint64(0xFFFF_FFFF)).astype(np.int64))
    return scores, indices


def _floats(block: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(block, dtype=np.float32)


def vector_lengths(vectors: np.ndarray, name: str, *, block: int = PASSAGE_BLOCK) -> np.ndarray:
    """Euclidean lengths, float64 (n,), of vectors (n, d) that messages call `name`, read `block` rows at a time.

    Raises:
        InputError: a vector holds NaN or infinity; the first such row is named.
    """
    norms = np.empty(len(vectors))
    for start in range(0, len(vectors), block):
        part = _floats(vectors[start : start + block])
        norms[start : start + block] = np.sqrt(np.einsum("ij,ij->i", part, part, dtype=np.float64))
    bad = np.flatnonzero(~np.isfinite(norms))
    if len(bad):
        raise InputError(
            f"{name}: the vector in row {bad[0]} holds NaN or infinity ({len(bad):,} such rows); check the model, or "
            "encode with precision fp32"
        )
    return norms
