"""A search whose scores are a formula; ``python -m tests.sharpen.tuning.synthetic FOLDER MARK`` hangs in one trial."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from sharpen.mining.settings import StepSettings
from sharpen.settings import EncoderSettings
from sharpen.training.settings import TrainingSettings
from sharpen.tuning.journal import TrialReporter
from sharpen.tuning.records import Repeat, Result, Trial
from sharpen.tuning.search import search
from sharpen.tuning.settings import TuningSettings
from sharpen.tuning.space.groups import Groups
from sharpen.tuning.space.search_space import Space, read_space
from sharpen.tuning.study import FACTS, Proposal, Study

GROUPS = Groups(TrainingSettings.checked({}), StepSettings.checked({}), EncoderSettings.checked({}))
RANGES = ["training.learning_rate=1e-6..1e-3:log", "training.temperature=0.005..0.5:log"]
BEST = {"training.learning_rate": 1e-4, "training.temperature": 0.05}
HANGS_IN = 3


def space(*ranges: str) -> Space:
    return read_space(None, list(ranges or RANGES), GROUPS)


def score(values: dict[str, Any]) -> float:
    """Highest, .8, at `BEST`; .1 less for each power of ten in the rate, .2 in the temperature, squared."""
    away = {name: math.log10(values[name] / best) for name, best in BEST.items()}
    return 0.8 - 0.1 * away["training.learning_rate"] ** 2 - 0.2 * away["training.temperature"] ** 2


class Synthetic:
    """Trials that take no time; `in_trial` is called in each with its number."""

    slots, seed = 1, 42

    def __init__(
        self,
        study: Study,
        in_trial: Callable[[int], None] = lambda number: None,
        result: Callable[[dict[str, Any]], float] = score,
    ) -> None:
        self.study, self.in_trial, self.result = study, in_trial, result
        self.started: list[Proposal] = []
        self.compared: list[tuple[int, int]] = []

    def goes_on(self, proposal: Proposal) -> bool:
        return False

    def start(self, proposal: Proposal) -> str:
        self.started.append(proposal)
        return ""

    def wait(self, ends_at: float | None) -> tuple[Proposal, Result]:
        proposal = self.started.pop()
        self.in_trial(proposal.number)
        reporter = TrialReporter(self.study.folder, proposal.trial, self.study.settings)
        last, scores = self.study.settings.evaluations, []
        for at in range(1, last + 1):
            scores.append((at / last, self.result(proposal.values) * at / last))
            if reporter.report(scores[-1][1]) and at < last:
                return proposal, Result(score=scores[-1][1], scores=scores, state="pruned", seconds=at)
        return proposal, Result(score=scores[-1][1], scores=scores, seconds=last, training_seconds=last)

    def repeat(self, wanted: Sequence[tuple[Trial, int]], ends_at: float | None) -> Iterator[Repeat]:
        for trial, seed in wanted:
            yield Repeat(trial.number, seed, Result(score=self.result(trial.values) - 0.001 * (seed - self.seed)))

    def end(self) -> None: ...

    def keep_models(self, numbers: Collection[int]) -> None: ...

    def compare(self, best: Trial, start: Trial) -> dict[str, Any] | None:
        self.compared.append((best.number, start.number))
        return None


def begun(folder: Path, *ranges: str, **settings: Any) -> Study:
    """A study with its first proposal: what the defaults are."""
    study = Study(folder, space(*ranges), TuningSettings.checked({"trials": 8, **settings}))
    study.begin({"of": "a formula"}, {one.name: GROUPS.value(one.name) for one in study.space})
    study.set_fact(FACTS, {"data": "a formula", "dev_queries": 100, "next_command": "sharpen run", "model": "none"})
    return study


def main(folder: Path, mark: Path) -> None:
    """Search; the first time, wait for death in trial `HANGS_IN`."""
    study = begun(folder)

    def hang(number: int) -> None:
        if number == HANGS_IN and not mark.exists():
            mark.touch()
            time.sleep(600)

    search(study, Synthetic(study, hang))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
