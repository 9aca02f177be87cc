"""Optuna as the search uses it: a journal file that survives any death, and the rule by which trials end early."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpen.errors import InputError
from sharpen.tuning.settings import TuningSettings

if TYPE_CHECKING:
    import optuna

JOURNAL, NAME = "study.journal", "sharpen"


class TrialReporter:
    """Reports a running trial's dev scores to its study, and says whether it is worth going on.

    Args:
        folder: of the study.
        trial: number of the trial in it.
        settings: of the search.

    Attributes:
        reported: how many scores of the trial the study knows.
    """

    def __init__(self, folder: Path, trial: int, settings: TuningSettings) -> None:
        optuna = import_optuna()
        study = optuna.load_study(storage=open_storage(optuna, folder), study_name=NAME, pruner=make_pruner(settings))
        self._trial = optuna.trial.Trial(study, study.get_trials(deepcopy=False)[trial]._trial_id)
        # of a trial that runs elsewhere, an earlier process may have reported some
        self.reported = len(self._trial.storage.get_trial(self._trial._trial_id).intermediate_values)

    def report(self, score: float) -> bool:
        """Report the score of the next evaluation; true: the trial should end."""
        self.reported += 1
        self._trial.report(score, self.reported)
        return self._trial.should_prune()


def make_pruner(settings: TuningSettings) -> optuna.pruners.BasePruner:
    """The rule by which trials end early, whose resource is the number of dev evaluations."""
    pruners = import_optuna().pruners
    if settings.pruning == "off" or settings.evaluations == 1:
        return pruners.NopPruner()
    factor = settings.reduction_factor
    if settings.pruning == "halving":
        return pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor)
    return pruners.HyperbandPruner(min_resource=1, max_resource=settings.evaluations, reduction_factor=factor)


def open_storage(optuna: Any, folder: Path) -> Any:
    from optuna.storages.journal import JournalFileBackend

    path = folder / JOURNAL
    return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock_obj=_Lock(path)))  # type: ignore[arg-type]


class _Lock:
    """The journal's lock, which the kernel frees when a process dies; Optuna's own is a file that then stays."""

    def __init__(self, path: Path) -> None:
        self._path, self._handle = path.with_name(f".{path.name}.lock"), -1

    def acquire(self) -> bool:
        self._handle = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        os.close(self._handle)


def cut_torn_line(journal: Path) -> None:
    """Leave out what a process was writing when it was killed; it would join the next line."""
    if journal.exists() and not (written := journal.read_bytes()).endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(written.rfind(b"\n") + 1)


def import_optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise InputError("a search needs the package optuna: pip install 'sharpen[tune]'") from error
    # it logs every trial to stderr by itself
    optuna.logging.set_verbosity(logging.ERROR)
    return optuna
