"""What is known of a search: its trials, the best one, and those that no other beats in score and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["complete", "pruned", "failed", "running"]


@dataclass(frozen=True)
class Result:
    """What came of a trial.

    Attributes:
        score: best nDCG@10 on dev after the first step; None where none was measured.
        scores: (share of the training's steps, nDCG@10 on dev) of each evaluation.
        state: ``complete``; ``pruned``: ended early; ``failed``.
        seconds: of all of it: mining, where no trial had mined so before, training, looking at dev.
        training_seconds: of the training and its dev evaluations, from the first step on.
        base_score: nDCG@10 on dev of the untrained model; None where it was not measured.
        guard: nDCG@10 on the guard set; None where it was not measured.
        steps: of the training.
        reason: why it failed, or ended early.
        model: folder of the trained model; empty for none.
    """

    score: float | None = None
    scores: list[tuple[float, float]] = field(default_factory=list)
    state: State = "complete"
    seconds: float = 0.0
    training_seconds: float = 0.0
    base_score: float | None = None
    guard: float | None = None
    steps: int = 0
    reason: str = ""
    model: str = ""


@dataclass(frozen=True)
class Trial:
    """One proposal of a search and what came of it.

    Attributes:
        number: of the proposal, from 0: the settings that the search began with.
        values: full name of each searched setting -> its value.
        result: what came of it.
        run: what names it where it ran, such as the id of a run; empty on this machine.
    """

    number: int
    values: dict[str, Any]
    result: Result
    run: str = ""

    @property
    def score(self) -> float:
        """The score of a trial that has one."""
        assert self.result.score is not None
        return self.result.score


@dataclass(frozen=True)
class Repeat:
    """A training again with another seed.

    Attributes:
        trial: whose settings.
        seed: of the training.
        result: what came of it.
    """

    trial: int
    seed: int
    result: Result


def complete(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that were trained to the end, by their number."""
    return [trial for trial in trials if trial.result.state == "complete" and trial.result.score is not None]


def best(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the highest score of those trained to the end, the first of equals; None: there is none."""
    return max(complete(trials), key=lambda trial: (trial.score, -trial.number), default=None)


def second_value(trial: Trial, second: str) -> float | None:
    """What the score is set against: the seconds of a training, or its score on the guard set."""
    return trial.result.training_seconds if second == "seconds" else trial.result.guard


def pareto_front(trials: Sequence[Trial], second: str) -> list[Trial]:
    """The complete trials that no other equals in both figures and beats in one, by their score.

    Args:
        trials: of a search.
        second: ``seconds``, of which less is better, or ``guard``, of which more is better.
    """
    sign = -1 if second == "seconds" else 1
    points = [(t.score, sign * v, t) for t in complete(trials) if (v := second_value(t, second)) is not None]
    points.sort(key=lambda point: (-point[0], -point[1], point[2].number))
    front: list[Trial] = []
    least: float | None = None
    for _, cost, trial in points:
        if least is None or cost > least:
            front.append(trial)
            least = cost
    return front
