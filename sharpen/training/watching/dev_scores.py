"""The dev scores of a training in a file of their own, for who looks on from elsewhere while it goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from sharpen.errors import SharpenError
from sharpen.run_context import run_id
from sharpen.store import storage

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

_DIGITS = 6


@dataclass(frozen=True)
class DevScores:
    """What a training's file says so far.

    Attributes:
        run: id of the run that trains.
        model: address to which the model is written at the end.
        data_fingerprint: of the data that are trained on.
        queries: how many dev queries the scores are of.
        steps: of the whole training.
        points: (step, nDCG@10, seconds since the epoch when it was first known) of each evaluation; step 0: the base
            model's.
        groups: number of the group of each dev query; those of one group are not independent of each other.
        values: nDCG@10 of each dev query after the step `values_of`, the best one so far that was measured here.
    """

    run: str
    model: str
    data_fingerprint: str
    queries: int
    steps: int = 0
    points: list[tuple[int, float, float]] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    values_of: int = 0

    @property
    def best_values(self) -> list[float]:
        """`values` where they are of the best step after the first one; empty: they are not known."""
        later = [point for point in self.points if point[0] > 0]
        best = max(later, key=lambda point: point[1], default=None)
        return self.values if best is not None and best[0] == self.values_of else []

    @classmethod
    def read(cls, address: str) -> DevScores | None:
        """What a file says; None where there is none yet."""
        try:
            found = storage.read_json(address)
        except storage.NotFound:
            return None
        points = [(int(step), float(score), float(when)) for step, score, when in found["points"]]
        return cls(**{**found, "points": points})


class DevScoreFile:
    """Writes the dev scores of a training, of which it is told one after another; of a broken one that goes on, anew.

    A store that does not answer ends no training: the next evaluation writes all of them.

    Args:
        address: of the file.
        begun: what is known before the first score.
    """

    def __init__(self, address: str, begun: DevScores) -> None:
        self._address, self._begun = address, begun
        self._points: dict[int, tuple[int, float, float]] = {}
        self._before: DevScores | None = None
        self._read = False
        self._new: list[float] = []

    def keep(self, values: np.ndarray) -> None:
        """Keep nDCG@10 of each dev query, of which `report` gets the mean next."""
        self._new = [round(value, _DIGITS) for value in values.tolist()]

    def report(self, step: int, steps: int, score: float) -> bool:
        """Write a score with those before; false: the training is not ended.

        Args:
            step: after which it was measured.
            steps: of the whole training.
            score: nDCG@10 on dev.
        """
        before = self._earlier()
        times = {known: when for known, _, when in before.points} if before else {}
        best = max((known for at, known, _ in self._points.values() if at > 0), default=-1.0)
        self._points[step] = (step, score, times.get(step, time.time()))
        if self._new and step > 0 and score > best:
            self._begun = replace(self._begun, values=self._new, values_of=step)
        self._new = []
        found = replace(self._begun, steps=steps, points=[*self._points.values()])
        try:
            storage.write_json(self._address, asdict(found))
        except SharpenError as fault:
            logger.warning(f"dev scores are not written to {self._address} ({fault}); training goes on")
        return False

    def _earlier(self) -> DevScores | None:
        """What an earlier attempt of this run wrote, whose checkpoint this one goes on from."""
        if not self._read:
            self._read = True
            try:
                before = DevScores.read(self._address)
            except SharpenError:
                before = None
            if before is not None and before.run == run_id():
                self._before = before
                self._begun = replace(self._begun, values=before.values, values_of=before.values_of)
        return self._before


def dev_score_file(address: str, model: str, data_fingerprint: str, groups: Sequence[str]) -> DevScoreFile:
    """The file of a training of this run; arguments as the attributes of `DevScores`, groups by their names."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    of_queries = [numbers[name] for name in groups]
    return DevScoreFile(address, DevScores(run_id(), model, data_fingerprint, len(groups), groups=of_queries))
