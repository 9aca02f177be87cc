"""Embeddings of many texts, and the cache in which they are looked up."""

from sharpen.embeddings.embed import embed_texts
from sharpen.embeddings.lazy_encoder import LazyEncoder
from sharpen.embeddings.memmap import not_finite
from sharpen.embeddings.passage_rows import PassageRows
from sharpen.embeddings.passages import PassageVectors, embed_passages

__all__ = ["LazyEncoder", "PassageRows", "PassageVectors", "embed_passages", "embed_texts", "not_finite"]
