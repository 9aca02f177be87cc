"""Trials on this machine, one after another: in this process, or each in processes of its own."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import shutil
import signal
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sharpen.errors import Interrupted, SharpenError, StepFailed
from sharpen.processes.local import LocalProcesses, raise_failure
from sharpen.store import local_store
from sharpen.terminal import one_line
from sharpen.tuning.records import Repeat, Result, Trial
from sharpen.tuning.space.groups import Groups
from sharpen.tuning.study import Proposal, Study
from sharpen.tuning.trials.comparison import FILE, Side, compare_models, write_request
from sharpen.tuning.trials.request import Request
from sharpen.tuning.trials.trial import run_trial

logger = logging.getLogger(__name__)

MODULE = "sharpen.tuning.trials.worker"


class LocalTrials:
    """Runs what a search proposes.

    Attributes:
        slots: trials at a time.
        seed: of the trainings.

    Args:
        study: of the search, in whose folder trials write.
        data: address of the prepared data.
        model: address of the model to start from.
        groups: the settings that the search begins with.
        processes: of each training; 0: this one, where a lack of memory can end the search.
    """

    slots = 1

    def __init__(self, study: Study, data: str, model: str, groups: Groups, processes: int = 0) -> None:
        self._study, self._data, self._model, self._groups = study, data, model, groups
        self._processes, self.seed = processes, groups.training.seed
        self._started: list[Proposal] = []

    def goes_on(self, proposal: Proposal) -> bool:
        """Whether a proposal of an earlier process still runs: never, they end with it."""
        return False

    def start(self, proposal: Proposal) -> str:
        """Take a proposal, which `wait` does."""
        self._started.append(proposal)
        return ""

    def wait(self, ends_at: float | None) -> tuple[Proposal, Result]:
        """Do the trial that was started; it ends at the first evaluation after a time (seconds since the epoch)."""
        proposal = self._started.pop(0)
        groups = self._groups.with_values(self._groups.changed(proposal.values))
        request = self._request(str(proposal.number), groups, ends_at)
        return proposal, self._done(replace(request, study=str(self._study.folder), trial=proposal.trial))

    def repeat(self, wanted: Sequence[tuple[Trial, int]], ends_at: float | None) -> Iterator[Repeat]:
        """Train settings again with other seeds, one after another; no comparison with others ends one.

        Args:
            wanted: trials, whose settings, and seeds.
            ends_at: when the time of the search is over, in seconds since the epoch; None: never.
        """
        for trial, seed in wanted:
            groups = self._groups.with_values({**self._groups.changed(trial.values), "training.seed": seed})
            request = replace(self._request(f"{trial.number}-seed-{seed}", groups, ends_at), keep_model=False)
            yield Repeat(trial.number, seed, self._done(request))
            shutil.rmtree(request.path, ignore_errors=True)

    def end(self) -> None:
        """Nothing: trials end before the next begins."""

    def keep_models(self, numbers: Collection[int]) -> None:
        """Delete the models of all trials but these."""
        for folder in self._trials_folder.glob("*/model"):
            if folder.parent.name not in map(str, numbers):
                shutil.rmtree(folder, ignore_errors=True)

    def compare(self, best: Trial, start: Trial) -> dict[str, Any] | None:
        """`comparison.compare_models` of two trials; None where a model is not there."""
        first, second = (
            Side(trial.result.model, self._groups.with_values(self._groups.changed(trial.values)))
            for trial in (best, start)
        )
        if not all(side.model and Path(side.model).is_dir() for side in (first, second)):
            return None
        folder = self._study.folder / "comparison"
        folder.mkdir(exist_ok=True)
        if not self._processes:
            return compare_models(self._data, first, second, folder)
        write_request(self._data, first, second, folder)
        self._in_processes(["--compare", str(folder)], 1, folder / "log.txt")
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return dict(found)

    @property
    def _trials_folder(self) -> Path:
        return self._study.folder / "trials"

    def _request(self, name: str, groups: Groups, ends_at: float | None) -> Request:
        folder = self._trials_folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return Request(
            data=self._data,
            model=self._model,
            groups=groups,
            folder=str(folder),
            negatives=str(self._study.folder / "negatives"),
            tuning=self._study.settings,
            base_score=(self._study.fact("base_scores") or {}).get(base_key(groups)),
            ends_at=ends_at,
        )

    def _done(self, request: Request) -> Result:
        """What came of it; a failure of its own is a result, too."""
        try:
            result = self._run(request)
        except (Interrupted, KeyboardInterrupt):
            raise
        except (SharpenError, RuntimeError, MemoryError) as error:
            _free_memory()
            return Result(state="failed", reason=one_line(str(error) or type(error).__name__, 500))
        if result.base_score is not None:
            known = self._study.fact("base_scores") or {}
            self._study.set_fact("base_scores", {**known, base_key(request.groups): result.base_score})
        return result

    def _run(self, request: Request) -> Result:
        if not self._processes:
            return run_trial(request)
        request.write()
        self._in_processes(["--trial", request.folder], self._processes, request.path / "log.txt")
        return request.read_result()

    def _in_processes(self, options: list[str], processes: int, log: Path) -> None:
        with local_store.open_private(log, "w", encoding="utf-8") as file:
            program = LocalProcesses(MODULE, options, processes, output=_lines_into(file))
            try:
                program.start()
                code, status = program.wait()
            except BaseException:
                program.cancel()
                raise
        if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
            raise StepFailed(f"its process was killed (SIGKILL), as happens when memory runs out; see {log}")
        if code:
            raise_failure(status, [f"it ended with exit code {code}; see {log}"])


def base_key(groups: Groups) -> str:
    """Equal where the untrained model has the same score on dev."""
    training = groups.training
    parts = [groups.encoder.model_dump_json(), str(training.eval_corpus_size), str(training.seed)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _lines_into(file: Any) -> Callable[[str], object]:
    return lambda line: file.write(f"{line}\n")


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
