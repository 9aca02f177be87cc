"""Embeddings of many texts: the one door through which steps get vectors, and the cache behind it."""

from components.core.vectors.door import vectors_of

__all__ = ["vectors_of"]
