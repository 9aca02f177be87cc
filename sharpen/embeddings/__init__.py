"""Embeddings of many texts: the one door through which steps get vectors, and the cache behind it."""

from sharpen.embeddings.embed import vectors_of
from sharpen.embeddings.lazy_encoder import LazyEncoder
from sharpen.embeddings.memmap import not_finite

__all__ = ["LazyEncoder", "not_finite", "vectors_of"]
