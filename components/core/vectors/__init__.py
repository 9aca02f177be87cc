"""Embeddings of many texts: the one door through which steps get vectors, and the cache behind it."""

from components.core.vectors.door import vectors_of
from components.core.vectors.lazy_encoder import LazyEncoder
from components.core.vectors.matrix import not_finite

__all__ = ["LazyEncoder", "not_finite", "vectors_of"]
