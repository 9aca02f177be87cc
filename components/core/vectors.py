"""Embeddings of many texts: the one door through which steps get vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.core.encoder import Encoder, Kind


def vectors_of(
    encoder: Encoder, texts: Sequence[str], kind: Kind, instructions: Sequence[str | None] | None = None
) -> np.ndarray:
    """Embeddings (n, d, float32) of the texts, in their order; arguments as for `Encoder.tokenize`."""
    return encoder.encode(texts, kind, instructions)
