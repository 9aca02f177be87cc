"""`embed_passages`: vectors of whole passages, long ones in windows, as they are searched."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sharpen.embeddings.embed import embed_texts
from sharpen.embeddings.lazy_encoder import LazyEncoder
from sharpen.embeddings.memmap import empty_matrix
from sharpen.embeddings.passage_rows import PassageRows

if TYPE_CHECKING:
    from sharpen.embeddings.windows import Windows
    from sharpen.models.encoder import Encoder

logger = logging.getLogger(__name__)

_PASSAGES_AT_ONCE = 1024
_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class PassageVectors:
    """Vectors of passages.

    Attributes:
        vectors: (v, d, float32), those of a passage one after the other; may be memory-mapped.
        rows: which passage each is of; None: each passage has one.
        spans: (v, 2) the characters of its passage that each vector is of; None with `rows`.
    """

    vectors: np.ndarray
    rows: PassageRows | None = None
    spans: np.ndarray | None = None


def embed_passages(
    encoder: Encoder | LazyEncoder, texts: Sequence[str], titles: Sequence[str] | None = None
) -> PassageVectors:
    """Embeddings of passages as ``passage_windows`` of the encoder says; see `embed_texts`.

    What is kept in the cache are the vectors of windows, so other settings of them compute only what is new. A passage
    that fits into one window has the vector that `embed_texts` gives it, to the bit.

    Args:
        encoder: the model.
        texts: passages, titles included.
        titles: the title with which each text begins, or an empty one, which later windows repeat; None: none.

    Raises:
        InputError, StepFailed: as `embed_texts`, or the model's tokenizer cannot divide texts.
    """
    encoder = encoder if isinstance(encoder, LazyEncoder) else LazyEncoder.of(encoder)
    vectors = embed_texts(encoder, texts, "passage")
    if encoder.settings.passage_windows == "none":
        return PassageVectors(vectors)
    from sharpen.embeddings.windows import divide  # and with it transformers

    windows = divide(encoder.load(), texts, titles)
    logger.info(f"{len(windows.cut):,} of {len(texts):,} passages are long: {len(windows.texts):,} windows more")
    if not windows.texts:
        return PassageVectors(vectors)
    more = embed_texts(encoder, windows.texts, "passage")
    if encoder.settings.passage_windows == "max":
        return _joined(vectors, windows, more, np.fromiter(map(len, texts), np.int64, len(texts)))
    return PassageVectors(_averaged(vectors, windows, more, normalize=encoder.config.normalize))


def _joined(vectors: np.ndarray, windows: Windows, more: np.ndarray, lengths: np.ndarray) -> PassageVectors:
    """All vectors, first those of whole or cut passages of `lengths` (n,) characters, each with its other windows."""
    counts = np.bincount(windows.passages, minlength=len(vectors)) + 1
    rows = PassageRows(np.repeat(np.arange(len(vectors)), counts))
    others = np.ones(len(rows.passages), dtype=bool)
    others[rows.first] = False
    joined = empty_matrix(len(rows.passages), vectors.shape[1])
    for positions, block in ((rows.first, vectors), (np.flatnonzero(others), more)):
        for start in range(0, len(positions), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            joined[positions[part]] = block[part]
    spans = np.zeros((len(joined), 2), dtype=np.int64)
    spans[rows.first, 1] = lengths
    spans[rows.first[list(windows.cut)], 1] = list(windows.cut.values())
    spans[others] = windows.spans
    return PassageVectors(joined, rows, spans)


def _averaged(vectors: np.ndarray, windows: Windows, more: np.ndarray, *, normalize: bool) -> np.ndarray:
    """`vectors` (n, d), in which those of divided passages are the mean of theirs and `more` (w, d) windows."""
    rows, starts, counts = np.unique(windows.passages, return_index=True, return_counts=True)
    for first in range(0, len(rows), _PASSAGES_AT_ONCE):
        part = slice(first, first + _PASSAGES_AT_ONCE)
        begin, end = starts[first], starts[part][-1] + counts[part][-1]
        sums = vectors[rows[part]] + np.add.reduceat(more[begin:end], starts[part] - begin, axis=0, dtype=np.float64)
        mean = sums / (counts[part] + 1)[:, None]
        if normalize:
            lengths = np.linalg.norm(mean, axis=1, keepdims=True)
            mean /= np.where(lengths > 0, lengths, 1)
        vectors[rows[part]] = mean
    return vectors
