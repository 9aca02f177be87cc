"""Who is named as a teacher, and what has no effect without."""

from __future__ import annotations

from typing import Any

import pytest

from sharpen.errors import InputError
from sharpen.teachers.settings import KEY_VARIABLE, StepSettings, TeacherSettings


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cross_encoder_max_len": 64}, "cross_encoder_max_len has no effect without cross_encoder"),
        ({"embedding_temperature": 0.1}, "embedding_temperature has no effect without embedding_model"),
        ({"model": "m"}, "model has no effect without endpoint"),
        ({"endpoint": "http://h/v1"}, "endpoint needs model"),
        ({"endpoint": "ftp://h", "model": "m"}, "endpoint"),
        ({"endpoint": "http://h/v1", "model": "sk-" + "a" * 20}, KEY_VARIABLE),
        ({"margin": -1}, "margin"),
    ],
)
def test_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        TeacherSettings.checked(values, where="teachers.")


def test_somebody_must_teach() -> None:
    with pytest.raises(InputError, match=r"teachers\.cross_encoder: no teacher is named"):
        TeacherSettings.checked({}).check_teachers("teachers.")
    several = TeacherSettings.checked({"cross_encoder": "c", "endpoint": "http://h/v1", "model": "m"})
    several.check_teachers()
    assert several.names == ["cross_encoder", "endpoint"]


def test_what_is_read_and_what_decides_the_scores() -> None:
    values = {"cross_encoder": "c", "embedding_model": "e"}
    assert StepSettings.checked(values).addresses == []
    assert StepSettings.checked({**values, "enabled": True}).addresses == ["c", "e"]
    slower = StepSettings.checked({**values, "concurrency": 1, "journal": "j"})
    assert slower.decisive() == StepSettings.checked(values).decisive()
    assert StepSettings.checked({**values, "margin": 1}).decisive() != slower.decisive()
