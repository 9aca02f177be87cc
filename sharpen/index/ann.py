"""Approximate search with a FAISS index: only the candidates are approximate, and what they miss is measured.

The index proposes candidates; their scores are computed pair by pair from the vectors themselves (`search.best_of`), so
every score is that of the exact search, ties are broken by index, and what can be wrong is only that a passage is
missing. How often that happens is measured on a sample of the queries against the exact answer, and the effort of
the search is raised until the sample's recall is high enough.

The same seed gives the same index with any number of threads: kinds whose building depends on it are built by one
(graphs: HNSW, NSG; learned rotations: OPQ, PCA). The others were found equal, byte for byte, for one and two threads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from sharpen.errors import InputError
from sharpen.index.exact import NO_PASSAGE, Neighbours, best_of, top_k, vector_lengths
from sharpen.progress import progress

AUTO, EXACT = "auto", "exact"
WANTED_RECALL = 0.95
SAMPLED_QUERIES = 256

_TRAINING_BYTES = 1 << 30
_POINTS_PER_LIST = 64  # FAISS warns below 39 and uses no more than 256
_POINTS_FOR_CODES = 65_536
_ADDED_AT_ONCE = 16_384
_QUERIES_AT_ONCE = 128
_FIRST_EFFORT = 8
_MOST_EFFORT = 4096
_CANDIDATES_PER_HIT = (1.5, 2, 4, 8, 16)
_ONE_THREAD = ("HNSW", "NSG", "OPQ", "PCA", "ITQ")
_IN_MEMORY_BYTES = 8 << 30
_MOST_LISTS = 1 << 14


@dataclass(frozen=True)
class Effort:
    """How hard an index is searched, and what that was measured to find.

    Attributes:
        looked_at: lists that are read for a query (IVF; FAISS' ``nprobe``), or length of the queue (HNSW; FAISS'
            ``efSearch``, or the candidates if they are more); other kinds have no such knob.
        candidates_per_hit: candidates that are taken from the index, and scored exactly, for each hit that is wanted.
        recall: share of the exact answer's top `k` that was found for the sampled queries; 1.0 when there was none.
        k: ranks that were looked at.
        queries: how many queries were sampled.
    """

    looked_at: int
    candidates_per_hit: float
    recall: float
    k: int
    queries: int


def chosen_factory(index: str, exact_up_to: int, passages: int, dimension: int) -> str:
    """What a user's choice comes to: ``exact``, or the string of a FAISS index that can be made.

    Args:
        index: ``auto``, ``exact`` or a factory string.
        exact_up_to: passages up to which ``auto`` is exact.
        passages, dimension: size of the corpus and length of its vectors.

    Raises:
        InputError: as `check_factory`.
    """
    if index == EXACT or (index == AUTO and passages <= exact_up_to):
        return EXACT
    factory = suggested_factory(passages, dimension) if index == AUTO else index
    check_factory(factory, dimension, passages)
    return factory


def suggested_factory(passages: int, dimension: int) -> str:
    """The factory string for a corpus that is too large for the exact search.

    Inverted lists, about ``4 sqrt(n)`` of them (FAISS' own guideline), over vectors of one byte a dimension; above
    8 GiB of those, over product codes of a quarter of a byte a dimension. Both are built by all threads alike, which a
    graph (HNSW) is not.
    """
    lists = min(2 ** round(np.log2(4 * np.sqrt(max(passages, 1)))), _MOST_LISTS)
    if passages * dimension <= _IN_MEMORY_BYTES or dimension % 2:
        return f"IVF{lists},SQ8"
    return f"IVF{lists},PQ{dimension // 2}x4fs"


def check_factory(factory: str, dimension: int, passages: int) -> None:
    """Say at once, in one line, why an index cannot be built.

    Args:
        factory: FAISS factory string, for example ``HNSW32`` or ``IVF4096,PQ48``.
        dimension: length of the vectors.
        passages: how many of them.

    Raises:
        InputError: FAISS knows no such index, it cannot take vectors of this length or so few of them, or it has no
            inner product.
    """
    index = _empty(factory, dimension)
    if any(kind in factory for kind in ("NSG", "Refine", "RFlat", "IDMap")):
        raise InputError(
            f"index {factory!r}: NSG, refinement and id maps cannot be used here (vectors are added in blocks, and "
            "candidates are scored exactly anyway); name another, for example HNSW32 or IVF4096,PQ48"
        )
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise InputError(f"index {factory!r}: has no inner product; name another, for example HNSW32 or IVF4096,PQ48")
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None and not 0 < ivf.nlist <= passages:
        raise InputError(
            f"index {factory!r}: {ivf.nlist:,} lists for {passages:,} passages; name at least 1 and at most one a "
            "passage, or use auto"
        )


def build_index(passages: np.ndarray, factory: str, *, seed: int) -> Any:
    """Train and fill a FAISS index for inner products, reading the vectors block by block.

    Memory beyond the index itself: a sample of at most 1 GiB to train on, and one block.

    Args:
        passages: (m, d), any float type; may be memory-mapped.
        factory: FAISS factory string.
        seed: of the sample and of FAISS' clustering.

    Returns:
        The FAISS index; row i is passage i.

    Raises:
        InputError: as `check_factory`, or a vector holds NaN or infinity.
    """
    count, dimension = passages.shape
    check_factory(factory, dimension, count)
    vector_lengths(passages, "passages")
    index = _empty(factory, dimension)
    with _threads(1 if any(kind in factory for kind in _ONE_THREAD) else None):
        if not index.is_trained:
            _train(index, _sample(passages, index, seed), factory, seed)
        with progress(f"Building the index {factory}", count, "passages") as reporter:
            for start in range(0, count, _ADDED_AT_ONCE):
                block = _floats(passages[start : start + _ADDED_AT_ONCE])
                index.add(block)
                reporter.advance(len(block))
    return index


def measured_recall(
    index: Any,
    queries: np.ndarray,
    passages: np.ndarray,
    k: int,
    *,
    factory: str,
    seed: int,
    wanted: float = WANTED_RECALL,
    sample: int = SAMPLED_QUERIES,
) -> Effort:
    """Measure what an index finds of the exact top k, raising the effort until that is enough.

    Doubles the lists (or queue) looked at, and takes the fewest candidates per hit that reach `wanted`. When nothing
    does, the answer is the greatest effort with the recall that it has.

    Args:
        index: what `build_index` made of `passages` with `factory`.
        queries: (n, d); `sample` of them are drawn by `seed`, all if there are no more.
        passages: (m, d), the vectors themselves.
        k: ranks that will be sampled for.
        wanted: mean share of the exact top k that is enough.

    Raises:
        InputError: vectors that cannot be compared, or that are no numbers.
    """
    drawn = np.random.default_rng(seed).permutation(len(queries))[:sample]
    sampled = _floats(queries[np.sort(drawn)])
    reach = min(k, len(passages))
    if not len(sampled) or not reach:
        return Effort(_FIRST_EFFORT, _CANDIDATES_PER_HIT[0], 1.0, k, 0)
    _, exact = top_k(sampled, passages, reach)
    looked_at, recall = _FIRST_EFFORT, 0.0
    while True:
        for per_hit in _CANDIDATES_PER_HIT:
            found = candidates(index, sampled, k, factory, looked_at, per_hit)
            # a hit that is among the candidates is among the answers, since all of them are scored exactly
            recall = float(np.mean([np.isin(row, hits).mean() for row, hits in zip(exact, found, strict=True)]))
            if recall >= wanted:
                return Effort(looked_at, per_hit, recall, k, len(sampled))
        if looked_at >= _most_effort(index, factory):
            return Effort(looked_at, _CANDIDATES_PER_HIT[-1], recall, k, len(sampled))
        looked_at *= 2


def approximate_blocks(
    index: Any, queries: np.ndarray, passages: np.ndarray, k: int, *, factory: str, effort: Effort
) -> Iterator[Neighbours]:
    """`search.top_k_blocks` by way of an index: the same scores and order, but a passage may be missing.

    Args:
        index: what `build_index` made of `passages` with `factory`.
        queries: (n, d), any float type.
        passages: (m, d), likewise; may be memory-mapped. Only candidates are read.
        k: how many passages to return per query.
        effort: what `measured_recall` found to be enough.

    Raises:
        InputError: a query holds NaN or infinity, or has another length than the passages.
    """
    if queries.ndim != 2 or queries.shape[1] != index.d:
        raise InputError(f"queries have shape {queries.shape}, the index holds vectors of length {index.d}")
    vector_lengths(queries, "queries")

    def blocks() -> Iterator[Neighbours]:
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            block = _floats(queries[start : start + _QUERIES_AT_ONCE])
            found = candidates(index, block, k, factory, effort.looked_at, effort.candidates_per_hit)
            yield Neighbours(start, *best_of(block, passages, found, k))

    return blocks()


def candidates(
    index: Any, queries: np.ndarray, k: int, factory: str, looked_at: int, candidates_per_hit: float
) -> np.ndarray:
    """Rows (n, c) of the passages that an index proposes for float32 queries (n, d); `NO_PASSAGE` where it has none.

    Args:
        index, factory: as for `approximate_blocks`.
        k: how many hits are wanted; c is `candidates_per_hit` times that, or all passages.
        looked_at, candidates_per_hit: as in `Effort`.
    """
    depth = max(1, min(int(np.ceil(k * candidates_per_hit)), index.ntotal))
    parameters = faiss.ParameterSpace()
    if (ivf := faiss.try_extract_index_ivf(index)) is not None:
        parameters.set_index_parameter(index, "nprobe", min(looked_at, ivf.nlist))
    elif "HNSW" in factory:
        parameters.set_index_parameter(index, "efSearch", max(looked_at, depth))
    _, found = index.search(queries, depth)
    return np.where(found < 0, NO_PASSAGE, found)


def _empty(factory: str, dimension: int) -> Any:
    try:
        return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0].rpartition(".cpp:")[2]
        reason = re.sub(r"^\d+: (Error: )?", "", reason)
        raise InputError(
            f"index {factory!r}: FAISS cannot make this for vectors of length {dimension} ({reason}); name a factory "
            "string such as HNSW32 or IVF4096,PQ48, or use auto"
        ) from None


def _sample(passages: np.ndarray, index: Any, seed: int) -> np.ndarray:
    ivf = faiss.try_extract_index_ivf(index)
    wanted = max(_POINTS_FOR_CODES, _POINTS_PER_LIST * ivf.nlist if ivf is not None else 0)
    most = _TRAINING_BYTES // (4 * passages.shape[1])
    if (size := min(wanted, most)) >= len(passages):
        return _floats(passages[:])
    rows = np.random.default_rng(seed).choice(len(passages), size=size, replace=False)
    return _floats(passages[np.sort(rows)])


def _train(index: Any, sample: np.ndarray, factory: str, seed: int) -> None:
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None:
        ivf.cp.seed = seed
    try:
        index.train(sample)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0].rpartition("failed: ")[2]
        raise InputError(
            f"index {factory!r}: cannot be trained on {len(sample):,} passages ({reason}); use auto or a smaller index"
        ) from None


def _most_effort(index: Any, factory: str) -> int:
    if (ivf := faiss.try_extract_index_ivf(index)) is not None:
        return ivf.nlist
    return _MOST_EFFORT if "HNSW" in factory else _FIRST_EFFORT


def _floats(block: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(block, dtype=np.float32)


@contextmanager
def _threads(wanted: int | None) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(wanted or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
