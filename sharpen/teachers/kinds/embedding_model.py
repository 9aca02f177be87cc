"""A larger embedding model as a teacher: cosines, on the scale on which it was trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from sharpen.embeddings import LazyEncoder, embed_texts, not_finite
from sharpen.errors import InputError
from sharpen.models import model_config
from sharpen.settings import EncoderSettings
from sharpen.teachers.pairs import TeacherPairs
from sharpen.teachers.settings import TeacherSettings

_PAIRS_AT_ONCE = 1 << 16


class EmbeddingTeacher:
    """A `Teacher` with the prompts, pooling and lengths of its own folder; vectors are kept in the vector cache.

    Args:
        settings: which one, and its temperature.
        encoder: precision, batches and cache.

    Raises:
        InputError: no such model.
    """

    name = "embedding_model"

    def __init__(self, settings: TeacherSettings, encoder: EncoderSettings) -> None:
        assert settings.embedding_model
        self.address, self.temperature = settings.embedding_model, settings.embedding_temperature
        resolved = model_config.resolve(self.address, model_config.computing_part(encoder)).settings
        self.encoder = LazyEncoder.open(self.address, resolved.model_copy(update={"normalize_embeddings": True}))

    def score(self, pairs: TeacherPairs) -> np.ndarray:
        """See `Teacher`. Raises InputError where an embedding is not a number."""
        vectors = []
        for kind, texts, ids in (
            ("query", pairs.queries, pairs.query_ids),
            ("passage", pairs.passages, pairs.passage_ids),
        ):
            found = embed_texts(self.encoder, texts, kind)  # type: ignore[arg-type]
            if len(bad := not_finite(found)):
                raise InputError(
                    f"teachers.embedding_model: {self.address} gives no finite embedding of {kind} {ids[int(bad[0])]}; "
                    "take another"
                )
            vectors.append(found)
        scores = np.empty(len(pairs))
        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            rows = vectors[0][pairs.query[part]], vectors[1][pairs.passage[part]]
            scores[part] = np.einsum("nd,nd->n", *rows, dtype=np.float64)
        self.encoder.unload()
        return scores / self.temperature

    def facts(self) -> dict[str, Any]:
        """See `Teacher`."""
        return {"model": self.address, "hash": self.encoder.weights_hash, "temperature": self.temperature}
