"""Trainings of trials, played: whenever a run is looked at, its training is one dev evaluation further."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.parameters import Settings
from pipeline.run_form import settings_of
from sharpen.store import storage
from sharpen.training.watching.dev_scores import DevScoreFile, DevScores
from tests.pipeline.cluster.fake_backend import FINISHED, Object
from tests.pipeline.cluster.fake_kfp import FakeKfp

STEPS = 8
BASE = 0.25
QUERIES = 120
GROUPS = [number // 2 for number in range(QUERIES)]


def score(settings: Settings) -> float:
    """Highest, .8, at a rate of 1e-4; .1 less for each power of ten."""
    import math

    return 0.8 - 0.1 * abs(math.log10(settings.training.learning_rate / 1e-4))


def values(number: int, mean: float) -> np.ndarray:
    """nDCG@10 of each dev query in a trial of this number."""
    drawn = np.random.default_rng(number).uniform(-0.2, 0.2, QUERIES)
    return mean + drawn - drawn.mean()


@dataclass
class Played:
    """What trains on the fake cluster.

    Attributes:
        kfp: the cluster.
        looks: number of a trial -> looks for one evaluation; more make it slower.
        fate: what else becomes of a run of this name; true: nothing more of its training.
        fingerprint: number of a trial -> of its data.
        models: root of the trained models; empty: below the store.
        figures: whether trainings write nDCG@10 of each dev query.
        together: the most runs that went on at a time.
        together_before: the most before there was a dev score.
    """

    kfp: FakeKfp
    looks: Callable[[int], int] = lambda number: 1
    fate: Callable[[Object], bool] = lambda run: False
    fingerprint: Callable[[int], str] = lambda number: "data"
    models: str = ""
    figures: bool = True
    together: int = 0
    together_before: int = 0
    _files: dict[str, DevScoreFile] = field(default_factory=dict)
    _seen: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kfp.on_get_run = self.look

    def look(self, run: Object) -> None:
        """Let time pass for a run."""
        if run["state"] == "CANCELING":
            self.end(run, "FAILED")
        if run["state"] in FINISHED:
            return
        going = sum(one["state"] in ("PENDING", "RUNNING") for one in self.kfp.state.runs.values())
        self.together = max(self.together, going)
        if not self._files:
            self.together_before = max(self.together_before, going)
        self.kfp.set_state(run, "RUNNING")
        if not self.fate(run):
            self._train(run)

    def end(self, run: Object, state: str) -> None:
        """Let a run end."""
        run["finished_at"] = self.kfp.now()
        self.kfp.set_state(run, state)

    def _train(self, run: Object) -> None:
        name, number = run["display_name"], number_of(run)
        self._seen[name] = seen = self._seen.get(name, -1) + 1
        at, rest = divmod(seen, self.looks(number))
        if rest:
            return
        settings = settings_in(run)
        evaluations = round(1 / settings.training.eval_steps)
        file = self._files.setdefault(name, self._file(run, settings))
        reached = BASE if not at else BASE + (score(settings) - BASE) * at / evaluations
        if self.figures:
            file.keep(values(number, reached))
        file.report(STEPS * at // evaluations, STEPS, reached)
        if at == evaluations:
            if not self.models:
                storage.write_json(storage.join(self.model(run), "training.json"), {})
            self.end(run, "SUCCEEDED")

    def model(self, run: Object) -> str:
        """Where a run's model is."""
        return storage.join(self.models or f"{settings_in(run).store}/artifacts", run["run_id"], "model")

    def _file(self, run: Object, settings: Settings) -> DevScoreFile:
        begun = DevScores(
            run["run_id"], self.model(run), self.fingerprint(number_of(run)), queries=QUERIES, groups=GROUPS
        )
        return DevScoreFile(settings.training.dev_scores_address, begun)


def settings_in(run: Object) -> Settings:
    """The settings that a run got as its inputs."""
    return settings_of(run["runtime_config"]["parameters"])


def number_of(run: Object) -> int:
    """Number of the trial of a run."""
    return int(run["display_name"].partition("-seed-")[0].rpartition("-")[2])


def runs_of(kfp: FakeKfp) -> dict[str, Any]:
    """The runs by what follows the search's name: the trial's number, and a seed."""
    names = {run["display_name"]: run for run in kfp.state.runs.values()}
    assert len(names) == len(kfp.state.runs), "two runs of one name"
    return {name.partition("-tune-")[2].partition("-")[2]: run for name, run in names.items()}
