"""A larger embedding model as a teacher, against its vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sharpen.embeddings import LazyEncoder, embed_texts
from sharpen.settings import EncoderSettings
from sharpen.teachers.kinds.embedding_model import EmbeddingTeacher
from sharpen.teachers.pairs import given_negatives, pairs_to_score
from sharpen.teachers.settings import TeacherSettings
from tests.sharpen.teachers.small import small_data

pytestmark = pytest.mark.model


def test_scores_are_cosines_on_the_scale_of_its_temperature(tiny_model: Path) -> None:
    data = small_data()
    pairs = pairs_to_score(data, given_negatives(data), 1)
    settings = TeacherSettings.checked({"embedding_model": str(tiny_model), "embedding_temperature": 0.05})
    # lengths and prompts are those of the teacher's folder, not of the model that is trained
    trained = EncoderSettings.checked(
        {"query_max_len": 3, "query_instruction_for_retrieval": "find: ", "vector_cache": "off", "precision": "fp32"}
    )
    teacher = EmbeddingTeacher(settings, trained)
    found = teacher.score(pairs)
    own = EncoderSettings.checked(
        {"vector_cache": "off", "precision": "fp32", "passage_max_len": 128, "query_max_len": 128}
    )
    encoder = LazyEncoder.open(str(tiny_model), own)
    queries, passages = embed_texts(encoder, pairs.queries, "query"), embed_texts(encoder, pairs.passages, "passage")
    expected = [queries[q] @ passages[p] / 0.05 for q, p in zip(pairs.query, pairs.passage, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert teacher.facts()["temperature"] == 0.05 and len(teacher.facts()["hash"]) >= 32
