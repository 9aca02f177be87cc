"""Embeddings of many texts: the one door through which steps get vectors, and the cache behind it."""

from sharpen.embeddings.embed import embed_texts
from sharpen.embeddings.lazy_encoder import LazyEncoder
from sharpen.embeddings.memmap import not_finite

__all__ = ["LazyEncoder", "embed_texts", "not_finite"]
