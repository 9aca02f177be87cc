"""`embed_passages`: vectors of whole passages, long ones in windows, as they are searched."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sharpen.embeddings.embed import embed_texts
from sharpen.embeddings.lazy_encoder import LazyEncoder

if TYPE_CHECKING:
    from sharpen.embeddings.windows import Windows
    from sharpen.models.encoder import Encoder

logger = logging.getLogger(__name__)

_PASSAGES_AT_ONCE = 1024


def embed_passages(
    encoder: Encoder | LazyEncoder, texts: Sequence[str], titles: Sequence[str] | None = None
) -> np.ndarray:
    """Embeddings (n, d, float32) of passages as ``passage_windows`` of the encoder says; see `embed_texts`.

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
        return vectors
    from sharpen.embeddings.windows import divide  # and with it transformers

    windows = divide(encoder.load(), texts, titles)
    logger.info(f"{len(windows.cut):,} of {len(texts):,} passages are long: {len(windows.texts):,} windows more")
    if not windows.texts:
        return vectors
    more = embed_texts(encoder, windows.texts, "passage")
    return _averaged(vectors, windows, more, normalize=encoder.config.normalize)


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
