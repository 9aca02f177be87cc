"""`embed_texts`: read what is cached, encode and store what is missing, and put the matrix together."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sharpen.data.dedup import UniqueTexts, select, unique_texts
from sharpen.data.text_type import TextType, title
from sharpen.embeddings.cache import evict, open_cache
from sharpen.embeddings.lazy_encoder import LazyEncoder
from sharpen.embeddings.memmap import empty_matrix
from sharpen.embeddings.shards import ShardFolder, ShardIndex
from sharpen.embeddings.workers.processes import encode_on_processes, process_count
from sharpen.embeddings.writer import ShardWriter

if TYPE_CHECKING:
    from sharpen.models.encoder import Encoder

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 1 << 16
# Fewer texts, such as the one that a person searches for, are encoded sooner than the model's weights are hashed.
MIN_TEXTS_TO_CACHE = 32


def embed_texts(
    encoder: Encoder | LazyEncoder,
    texts: Sequence[str],
    kind: TextType,
    instructions: Sequence[str | None] | None = None,
) -> np.ndarray:
    """Embeddings (n, d, float32) of the texts, in their order; arguments as for `Encoder.tokenize`.

    Each distinct text is encoded once, and never again by the same encoder while the cache
    (`EncoderSettings.vector_cache`) holds its vector; only a few texts (`MIN_TEXTS_TO_CACHE`) are not kept. A result
    too large for the memory is a memory-mapped file. An embedding that is not a finite number is returned as NaN and
    not kept: the caller knows the text's id (`not_finite`).

    Raises:
        InputError: nothing can be written in the cache, or it holds vectors of another length.
        StepFailed: not even one text fits into the memory.
    """
    encoder = encoder if isinstance(encoder, LazyEncoder) else LazyEncoder.of(encoder)
    unique = unique_texts(texts, instructions)
    distinct, instructions = select(unique.first_index, texts, instructions)
    cache = open_cache(encoder, kind) if len(unique) >= MIN_TEXTS_TO_CACHE else None
    if cache is not None:
        return _embed_cached(cache, encoder.settings.vector_cache, encoder, unique, distinct, kind, instructions)
    if process_count(encoder.load(), kind, distinct, np.arange(len(unique))) == 1:
        return _embed_uncached(encoder, unique, distinct, kind, instructions)
    # what several processes compute must meet somewhere
    with tempfile.TemporaryDirectory(prefix="sharpen-vectors-") as folder:
        scratch = open_cache(encoder, kind, folder)
        assert scratch is not None
        return _embed_cached(scratch, folder, encoder, unique, distinct, kind, instructions)


def _embed_cached(
    cache: ShardFolder,
    cache_address: str,
    encoder: LazyEncoder,
    unique: UniqueTexts,
    distinct: list[str],
    kind: TextType,
    instructions: list[str | None] | None,
) -> np.ndarray:
    """The embeddings (n, d) of texts, of which `distinct` are the different ones, through the cache at an address."""
    unfit = np.zeros(len(unique), dtype=bool)
    index = cache.lookup(unique.keys)
    if cached := int((index.shard >= 0).sum()):
        logger.info(f"{title(kind)}: {cached:,} of {len(unique):,} are in the cache")
    missing = np.flatnonzero(index.shard < 0)
    if len(missing):
        evict(encoder, cache, cache_address)
        if (processes := process_count(encoder.load(), kind, distinct, missing)) > 1:
            encode_on_processes(encoder.load(), cache, distinct, kind, instructions, missing, processes, cache_address)
            index = cache.lookup(unique.keys)
    # what is left: all, what the processes could not keep, or what another process removed meanwhile
    while len(missing := np.flatnonzero((index.shard < 0) & ~unfit)):
        with ShardWriter(cache, unique.keys) as writer:
            _encode(encoder, distinct, kind, instructions, missing, writer.add)
        unfit[writer.unfit] = True
        index = cache.lookup(unique.keys)
    return _gather_rows(cache, index, unique.inverse)


def _gather_rows(cache: ShardFolder, index: ShardIndex, inverse: np.ndarray) -> np.ndarray:
    """The matrix (n, d) of the texts that are `inverse` (n,) among those that were looked up."""
    out = empty_matrix(len(inverse), cache.dimension, cache.folder)
    shard, row = index.shard[inverse], index.row[inverse]
    order = np.argsort(shard, kind="stable")
    borders = np.searchsorted(shard[order], np.arange(len(index.names) + 1))
    for name, start, end in zip(index.names, borders[:-1], borders[1:], strict=True):
        if start < end:
            rows = order[start:end]
            out[rows] = cache.vectors(name)[row[rows]]
    out[shard < 0] = np.nan
    return out


def _embed_uncached(
    encoder: LazyEncoder,
    unique: UniqueTexts,
    distinct: list[str],
    kind: TextType,
    instructions: list[str | None] | None,
) -> np.ndarray:
    vectors = empty_matrix(len(unique), encoder.dimension)

    def keep(rows: np.ndarray, found: np.ndarray) -> None:
        vectors[rows] = found

    _encode(encoder, distinct, kind, instructions, np.arange(len(unique)), keep)
    if len(unique) == len(unique.inverse):
        return vectors
    out = empty_matrix(len(unique.inverse), encoder.dimension)
    for start in range(0, len(out), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        out[part] = vectors[unique.inverse[part]]
    return out


def _encode(
    encoder: LazyEncoder,
    distinct: list[str],
    kind: TextType,
    instructions: list[str | None] | None,
    rows: np.ndarray,
    done: Callable[[np.ndarray, np.ndarray], None],
) -> None:
    """`encode_rows`, which is imported, and transformers with it, only where there is something to encode."""
    from sharpen.embeddings.encoding import encode_rows

    encode_rows(encoder.load(), distinct, kind, instructions, rows, done)
