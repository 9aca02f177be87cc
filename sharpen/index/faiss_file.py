"""The FAISS file of an index: made from the stored codes, so that it answers as the Parquet files would, and searched.

Row i of the file is the i-th row over the Parquet files in the order of their names. The file can be used without
Sharpen too (``faiss.read_index``; binary: ``faiss.read_index_binary``). An approximate one is a FAISS `IndexRefine`:
the index of the factory string, with the stored vectors, by which its candidates are scored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from sharpen.embeddings import PassageRows
from sharpen.errors import InputError
from sharpen.index import ann
from sharpen.index.ann import EXACT, Effort
from sharpen.index.distinct import best_vectors
from sharpen.index.exact import best_of
from sharpen.index.quantization import Codec, computed

NAME = "index.faiss"
# Exact indexes too propose more than is requested: bits are scored again as vectors, and floats in the fixed order of
# additions that makes ties be broken by row.
EXACT_EFFORT = Effort(looked_at=0, candidates_per_hit=4, recall=1.0, k=0, queries=0)
_LEAST_CANDIDATES = 100


@dataclass(frozen=True)
class Searchable:
    """An index that can be searched.

    Attributes:
        proposer: the FAISS index that proposes candidates.
        store: the FAISS index that holds the stored codes; the same one where the search is exact.
        codec: how codes are read back.
        factory: ``exact``, or the factory string of the proposer.
        effort: how hard an approximate proposer is searched.
        owner: the object that holds the memory of both, where it is neither.
        rows: which passage each vector is of; None: each passage has one.
    """

    proposer: Any
    store: Any
    codec: Codec
    factory: str
    effort: Effort
    owner: Any = None
    rows: PassageRows | None = None

    def __len__(self) -> int:
        return self.store.ntotal

    @property
    def vectors(self) -> np.ndarray:
        """The stored vectors (m, d), read back to float32 when they are used."""
        return computed(self.codes, self.codec.dimension, self.codec.decode)

    @property
    def codes(self) -> np.ndarray:
        """The stored codes (m, .), a view into the index."""
        held = self.store.xb if self.codec.precision == "binary" else self.store.codes
        raw = faiss.rev_swig_ptr(held.data(), held.size()).reshape(len(self), self.codec.bytes_per_vector)
        if self.codec.precision == "int8":
            return computed(raw, self.codec.dimension, _signed)
        return raw.view({"fp32": np.float32, "fp16": np.float16, "binary": np.uint8}[self.codec.precision])

    def search(self, queries: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """The best vectors of float32 queries (n, d), each of another passage.

        A score is the inner product of the query with the stored vector as it is read back.

        Returns:
            scores, float32 (n, top), and rows of vectors, int64 (n, top); padded with -inf and -1.

        Raises:
            InputError: the queries have another length than the stored vectors.
        """
        if queries.shape[1] != self.codec.dimension:
            raise InputError(
                f"the query has {queries.shape[1]} dimensions, the index {self.codec.dimension}: it was made with "
                "another model"
            )
        if self.rows is not None:
            return best_vectors(self._best, queries, self.rows, top)
        return self._best(queries, top)

    def _best(self, queries: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        return best_of(queries, self.vectors, self._candidates(queries, top), top)

    def _candidates(self, queries: np.ndarray, top: int) -> np.ndarray:
        depth = max(top, min(_LEAST_CANDIDATES, len(self)))
        if self.codec.precision == "binary":
            wanted = min(len(self), int(depth * EXACT_EFFORT.candidates_per_hit))
            return self.proposer.search(self.codec.encode(queries), wanted)[1]
        effort = self.effort
        return ann.candidates(self.proposer, queries, depth, self.factory, effort.looked_at, effort.candidates_per_hit)


def build(codes: Iterable[np.ndarray], vectors: np.ndarray, codec: Codec, factory: str, seed: int) -> tuple[Any, Any]:
    """The proposer and the store of an index, for `Searchable` and `write`. Both are held in memory.

    Args:
        codes: the stored codes, (., .) block after block.
        vectors: (m, d) the vectors before they were coded; an approximate index is made from them.
        codec: of the codes.
        factory: ``exact`` or a FAISS factory string.
        seed: of the training.
    """
    store = _empty_store(codec)
    for block in codes:
        if codec.precision in ("fp32", "binary"):
            store.add(np.ascontiguousarray(block))
        else:
            raw = _unsigned(block) if codec.precision == "int8" else np.ascontiguousarray(block).view(np.uint8)
            store.add_sa_codes(raw)
    return store if factory == EXACT else ann.build_index(vectors, factory, seed=seed), store


def write(proposer: Any, store: Any, path: Path) -> None:
    """Write what `build` made (`proposer`, `store`) as one FAISS file at `path`."""
    if isinstance(store, faiss.IndexBinary):
        faiss.write_index_binary(store, str(path))
    else:
        faiss.write_index(store if proposer is store else faiss.IndexRefine(proposer, store), str(path))


def read(path: Path, codec: Codec, factory: str, effort: Effort, rows: PassageRows | None = None) -> Searchable:
    """Read the file of a finished index at `path`; `codec`, `factory`, `effort` and `rows` as in `Searchable`.

    Raises:
        InputError: it is no FAISS index, or not one of these vectors.
    """
    try:
        if codec.precision == "binary":
            found = faiss.read_index_binary(str(path))
            return _checked(Searchable(found, found, codec, factory, effort, rows=rows), path)
        found = faiss.read_index(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: not an index that FAISS {faiss.__version__} reads ({error}); index again") from None
    proposer = store = found
    if isinstance(found, faiss.IndexRefine):
        proposer, store = faiss.downcast_index(found.base_index), faiss.downcast_index(found.refine_index)
    return _checked(Searchable(proposer, store, codec, factory, effort, found, rows), path)


def _checked(index: Searchable, path: Path) -> Searchable:
    if index.store.d != index.codec.dimension:
        raise InputError(f"{path}: holds vectors of length {index.store.d}, the manifest says {index.codec.dimension}")
    return index


def _empty_store(codec: Codec) -> Any:
    if codec.precision == "binary":
        return faiss.IndexBinaryFlat(codec.dimension)
    if codec.precision == "fp32":
        return faiss.IndexFlatIP(codec.dimension)
    kind = faiss.ScalarQuantizer.QT_fp16 if codec.precision == "fp16" else faiss.ScalarQuantizer.QT_8bit_uniform
    store = faiss.IndexScalarQuantizer(codec.dimension, kind, faiss.METRIC_INNER_PRODUCT)
    if codec.precision == "int8":
        # FAISS reads byte b back as first + (b + 1/2) / 255 * width; made to be (b - 128) * scale
        bounds = np.array([-128.5 * codec.scale, 255 * codec.scale], dtype=np.float32)
        faiss.copy_array_to_vector(bounds, store.sq.trained)
    store.is_trained = True
    return store


def _unsigned(codes: np.ndarray) -> np.ndarray:
    return (codes.astype(np.int16) + 128).astype(np.uint8)


def _signed(raw: np.ndarray) -> np.ndarray:
    return (raw.astype(np.int16) - 128).astype(np.int8)
