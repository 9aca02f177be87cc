"""The dev scores of a training in a file of their own, for who looks on from elsewhere while it goes on."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, field

from sharpen.errors import SharpenError
from sharpen.run_context import run_id
from sharpen.store import storage

logger = logging.getLogger(__name__)


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
    """

    run: str
    model: str
    data_fingerprint: str
    queries: int
    steps: int = 0
    points: list[tuple[int, float, float]] = field(default_factory=list)

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
        self._known: dict[int, float] | None = None

    def report(self, step: int, steps: int, score: float) -> bool:
        """Write a score with those before; false: the training is not ended.

        Args:
            step: after which it was measured.
            steps: of the whole training.
            score: nDCG@10 on dev.
        """
        when = self._times().get(step, time.time())
        self._points[step] = (step, score, when)
        known = DevScores(**{**asdict(self._begun), "steps": steps, "points": [*self._points.values()]})
        try:
            storage.write_json(self._address, asdict(known))
        except SharpenError as fault:
            logger.warning(f"dev scores are not written to {self._address} ({fault}); training goes on")
        return False

    def _times(self) -> dict[int, float]:
        """Step -> when an earlier attempt of this run, whose checkpoint this one goes on from, had its score."""
        if self._known is None:
            try:
                before = DevScores.read(self._address)
            except SharpenError:
                before = None
            same = before is not None and before.run == run_id()
            self._known = {step: when for step, _, when in before.points} if before and same else {}
        return self._known


def dev_score_file(address: str, model: str, data_fingerprint: str, queries: int) -> DevScoreFile:
    """The file of a training of this run; arguments as the attributes of `DevScores`."""
    return DevScoreFile(address, DevScores(run_id(), model, data_fingerprint, queries))
