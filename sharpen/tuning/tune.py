"""A search from prepared data to its report, on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpen.data.readers import read_dataset
from sharpen.errors import InputError, StepFailed
from sharpen.store import local_store
from sharpen.tuning.records import Repeat, Trial, best
from sharpen.tuning.report import write_page
from sharpen.tuning.search import Trials, search
from sharpen.tuning.settings import TuningSettings
from sharpen.tuning.space.groups import Groups
from sharpen.tuning.space.search_space import Space
from sharpen.tuning.study import COMPARISON, FACTS, Study
from sharpen.tuning.trials.local import LocalTrials

PAGE = "tune.html"


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        best: the trial with the highest score on dev.
        trials: all of them.
        repeats: trainings of the best settings and of those of the start with other seeds.
        comparison: of the best trial's model with that of the start, on all dev queries; None where there is none.
        page: the report.
        seconds: over all starts of the search.
        dev_queries: how many queries the scores are of.
    """

    best: Trial
    trials: list[Trial]
    repeats: list[Repeat]
    comparison: dict[str, Any] | None
    page: Path
    seconds: float
    dev_queries: int

    @classmethod
    def of(cls, study: Study) -> Found:
        """What a study holds. Raises StepFailed: no trial was trained to the end."""
        trials = study.trials()
        leader = best(trials)
        if leader is None:
            raise StepFailed(f"{study.folder}: no trial was trained to the end")
        page, compared = study.folder / PAGE, study.fact(COMPARISON)
        queries = int((study.fact(FACTS) or {}).get("dev_queries", 0))
        return cls(leader, trials, study.repeats(), compared, page, study.elapsed, queries)

    @property
    def changed(self) -> dict[str, Any]:
        """Full name -> value of what the best settings have otherwise than the start."""
        start = next((trial.values for trial in self.trials if trial.number == 0), {})
        return {name: value for name, value in self.best.values.items() if start.get(name) != value}


def tune(
    data: str,
    model: str,
    folder: Path,
    groups: Groups,
    space: Space,
    settings: TuningSettings,
    *,
    processes: int = 0,
    next_command: str = "",
) -> Found:
    """Search for the settings with the highest nDCG@10 on dev; goes on with what the folder holds.

    Args:
        data: address of a data set with dev queries. Its test queries are looked at by nobody here.
        model: address of the model to start from.
        folder: local; for the study, what trials write, and the report. One process at a time uses it.
        groups: the settings to begin with; they are the first trial.
        space: what is searched, as `search_space.checked` gives it.
        settings: of the search.
        processes: of each training; 0: this process.
        next_command: what the report says to do with the best settings.

    Raises:
        InputError: no dev queries; the folder has another search.
        StepFailed: no trial was trained to the end.
    """
    with local_store.translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with local_store.locked(folder / ".lock"):
        dataset = read_dataset(data)
        queries = sum(any(grade > 0 for grade in found.values()) for found in dataset.qrels_of("dev").values())
        if not queries:
            raise InputError(
                f"{data}: has no dev query with a relevant passage, by which settings could be compared; set "
                "data.dev_share, or give eval_data with dev queries"
            )
        study = Study(folder, space, settings)
        identity = {"data": dataset.fingerprint(), "model": model, "settings": groups.as_json()}
        del dataset
        begin(study, groups, identity, {"data": data, "dev_queries": queries, "next_command": next_command})
        run(study, LocalTrials(study, data, model, groups, processes))
    return Found.of(study)


def begin(study: Study, groups: Groups, identity: dict[str, Any], facts: dict[str, Any]) -> None:
    """Make a study that of one search.

    Args:
        study: new, or that of an earlier start.
        groups: the settings to begin with.
        identity: what trials depend on besides what is searched.
        facts: what the report says besides: ``data``, ``dev_queries``, ``next_command``.

    Raises:
        InputError: it is the study of another search, or the settings forbid to look at dev while training.
    """
    groups.watched(study.settings.evaluations)
    study.begin(
        {**identity, "evaluations": study.settings.evaluations},
        {one.name: groups.value(one.name) for one in study.space},
    )
    study.set_fact(FACTS, {**facts, "model": identity["model"], "settings": groups.as_json()})


def run(study: Study, trials: Trials) -> None:
    """Search, and write the report after each trial. Raises StepFailed: no trial was trained to the end."""
    search(study, trials, lambda: write_page(study, study.folder / PAGE))
