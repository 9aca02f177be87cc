"""A guide model's embeddings of the training texts, for losses that mask false negatives by them (GISTEmbed)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sharpen.data.text_type import TextType
from sharpen.embeddings import LazyEncoder, embed_texts, not_finite
from sharpen.errors import InputError
from sharpen.settings import EncoderSettings
from sharpen.training.data.examples import Examples

_FILES = ("queries.npy", "passages.npy")


class GuideEmbeddings:
    """The guide's embeddings.

    Args:
        queries: (queries, g) float32, one a row of `Examples.queries`.
        texts: (texts, g) float32, one a row of `Examples.texts`.
    """

    def __init__(self, queries: np.ndarray, texts: np.ndarray) -> None:
        self._queries, self._texts = queries, texts

    @classmethod
    def open(cls, folder: Path) -> GuideEmbeddings:
        """What `write_guide_embeddings` wrote, memory-mapped."""
        return cls(*(np.load(folder / name, mmap_mode="r") for name in _FILES))

    def rows(self, queries: np.ndarray, texts: np.ndarray) -> Tensor:
        """(n, g) float32 embeddings of these queries, then of these texts, both as numbered in the examples."""
        return torch.from_numpy(np.concatenate([self._queries[queries], self._texts[texts]]))


def guide_encoder(model: str, encoder: EncoderSettings) -> LazyEncoder:
    """The guide with its own pooling and prompts, and lengths and cache of the trained model; vectors of length 1."""
    shared = ("query_max_len", "passage_max_len", "batch_tokens", "precision", "attn_implementation")
    values = encoder.model_dump(include={*shared, "vector_cache", "vector_cache_gib", "encoding_processes"})
    return LazyEncoder.open(model, EncoderSettings.checked(values))


def write_guide_embeddings(examples: Examples, guide: LazyEncoder, folder: Path) -> None:
    """Embed all queries and texts of `examples`, each distinct one once, into files in an existing folder.

    Raises:
        InputError: the guide gives numbers that are not finite.
    """
    tables: tuple[tuple[Sequence[str], TextType, Sequence[str]], ...] = (
        (examples.queries, "query", examples.query_ids),
        (examples.texts, "passage", examples.text_ids),
    )
    for name, (texts, kind, ids) in zip(_FILES, tables, strict=True):
        vectors = embed_texts(guide, list(texts), kind)
        if len(bad := not_finite(vectors)):
            raise InputError(
                f"guide_model: {guide.address} gives no finite embedding of {kind} {ids[int(bad[0])]}; take another"
            )
        np.save(folder / name, vectors)


def guide_identity(guide: LazyEncoder) -> dict[str, object]:
    """What decides the guide's embeddings of a text."""
    return {kind: dict(guide.facts(kind)) for kind in ("query", "passage")}
