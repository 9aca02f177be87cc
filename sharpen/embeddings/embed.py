"""`embed_texts`: what is cached is read, what is missing is encoded and kept, and a matrix is put together."""

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
from sharpen.embeddings.processes import encode_on_processes, process_count
from sharpen.embeddings.shards import ShardFolder, ShardIndex
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
    unlike = unique_texts(texts, instructions)
    once, own = select(unlike.first_index, texts, instructions)
    cache = open_cache(encoder, kind) if len(unlike) >= MIN_TEXTS_TO_CACHE else None
    if cache is not None:
        return _through(cache, encoder.settings.vector_cache, encoder, unlike, once, kind, own)
    if process_count(encoder.load(), kind, once, np.arange(len(unlike))) == 1:
        return _without_cache(encoder, unlike, once, kind, own)
    # what several processes compute must meet somewhere
    with tempfile.TemporaryDirectory(prefix="sharpen-vectors-") as folder:
        passing = open_cache(encoder, kind, folder)
        assert passing is not None
        return _through(passing, folder, encoder, unlike, once, kind, own)


def _through(
    cache: ShardFolder,
    place: str,
    encoder: LazyEncoder,
    unlike: UniqueTexts,
    once: list[str],
    kind: TextType,
    own: list[str | None] | None,
) -> np.ndarray:
    """The embeddings of texts of which `once` are the different ones, by way of the cache at a place."""
    unfit = np.zeros(len(unlike), dtype=bool)
    places = cache.find(unlike.keys)
    if cached := int((places.shard >= 0).sum()):
        logger.info(f"{title(kind)}: {cached:,} of {len(unlike):,} are in the cache")
    missing = np.flatnonzero(places.shard < 0)
    if len(missing):
        evict(encoder, cache, place)
        if (processes := process_count(encoder.load(), kind, once, missing)) > 1:
            encode_on_processes(encoder.load(), cache, once, kind, own, missing, processes, place)
            places = cache.find(unlike.keys)
    # what is left: all, what the processes could not keep, or what another process removed meanwhile
    while len(missing := np.flatnonzero((places.shard < 0) & ~unfit)):
        with ShardWriter(cache, unlike.keys) as writer:
            _encode(encoder, once, kind, own, missing, writer.add)
        unfit[writer.unfit] = True
        places = cache.find(unlike.keys)
    return _assembled(cache, places, unlike.inverse)


def _assembled(cache: ShardFolder, places: ShardIndex, place: np.ndarray) -> np.ndarray:
    """The matrix (n, d) of the texts that are `place` (n,) among those that were looked up."""
    out = empty_matrix(len(place), cache.dimension, cache.folder)
    shard, row = places.shard[place], places.row[place]
    order = np.argsort(shard, kind="stable")
    borders = np.searchsorted(shard[order], np.arange(len(places.names) + 1))
    for name, start, end in zip(places.names, borders[:-1], borders[1:], strict=True):
        if start < end:
            own = order[start:end]
            out[own] = cache.vectors(name)[row[own]]
    out[shard < 0] = np.nan
    return out


def _without_cache(
    encoder: LazyEncoder, unlike: UniqueTexts, once: list[str], kind: TextType, own: list[str | None] | None
) -> np.ndarray:
    vectors = empty_matrix(len(unlike), encoder.dimension)

    def keep(rows: np.ndarray, found: np.ndarray) -> None:
        vectors[rows] = found

    _encode(encoder, once, kind, own, np.arange(len(unlike)), keep)
    if len(unlike) == len(unlike.inverse):
        return vectors
    out = empty_matrix(len(unlike.inverse), encoder.dimension)
    for start in range(0, len(out), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        out[part] = vectors[unlike.inverse[part]]
    return out


def _encode(
    encoder: LazyEncoder,
    once: list[str],
    kind: TextType,
    own: list[str | None] | None,
    rows: np.ndarray,
    done: Callable[[np.ndarray, np.ndarray], None],
) -> None:
    """`encode_rows`, which is imported, and transformers with it, only where there is something to encode."""
    from sharpen.embeddings.encoding import encode_rows

    encode_rows(encoder.load(), once, kind, own, rows, done)
