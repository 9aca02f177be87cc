"""A cross-encoder as a teacher, pair by pair, and again from the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sharpen.reranking.cross_encoder import CrossEncoder
from sharpen.settings import EncoderSettings
from sharpen.teachers.kinds import cross_encoder as kind
from sharpen.teachers.kinds.cross_encoder import CrossEncoderTeacher
from sharpen.teachers.pairs import given_negatives, pairs_to_score
from sharpen.teachers.settings import TeacherSettings
from tests.sharpen.teachers.small import small_data

pytestmark = pytest.mark.model


def test_scores_pair_by_pair_and_only_once(
    cross_encoder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path))
    monkeypatch.setattr(kind, "QUERIES_AT_ONCE", 1)
    data = small_data()
    pairs = pairs_to_score(data, given_negatives(data), 1)
    settings = TeacherSettings.checked({"cross_encoder": str(cross_encoder), "cross_encoder_max_len": 24})
    encoder = EncoderSettings.checked({"precision": "fp32"})
    teacher = CrossEncoderTeacher(settings, encoder)
    found = teacher.score(pairs)
    plain = CrossEncoder.load(str(cross_encoder), 24, encoder, "teachers.cross_encoder")
    for number in range(len(pairs)):
        texts = [pairs.queries[pairs.query[number]]], [pairs.passages[pairs.passage[number]]]
        assert found[number] == pytest.approx(float(plain.scores(*texts)[0]), abs=1e-5)
    assert teacher.facts()["pairs_scored"] == len(pairs)
    again = CrossEncoderTeacher(settings, encoder)
    np.testing.assert_array_equal(again.score(pairs), found)
    assert again.facts()["pairs_scored"] == 0
