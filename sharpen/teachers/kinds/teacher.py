"""What a teacher is: texts of pairs in, a score for each out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from sharpen.teachers.pairs import TeacherPairs


class Teacher(Protocol):
    """A model that knows better than the one that is trained how relevant a passage is."""

    name: str

    def score(self, pairs: TeacherPairs) -> np.ndarray:
        """(n,) float64 scores of the `pairs`, of which only those of one query are compared; NaN: not scored.

        A second call, whether the first was killed or there are more pairs now, computes only what is new.
        """
        ...

    def facts(self) -> dict[str, Any]:
        """What decides the scores, and what they took; after `score`."""
        ...
