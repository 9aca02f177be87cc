"""Trials as runs on a cluster: submitted several at a time, watched by the dev scores that their trainings write."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipeline.cluster import runs, show
from pipeline.cluster.api.client import Object
from pipeline.cluster.steps.read import Steps
from pipeline.cluster.steps.tasks import graph_of, moment
from pipeline.tuning.submission import Submission
from sharpen.errors import InputError, SharpenError
from sharpen.store import storage
from sharpen.terminal import one_line
from sharpen.training.watching.dev_scores import DevScores
from sharpen.tuning.journal import TrialReporter
from sharpen.tuning.records import Repeat, Result, Trial
from sharpen.tuning.study import FACTS, Proposal, Study
from sharpen.tuning.trials.trial import OTHERS_BETTER, OUT_OF_TIME

POLL_SECONDS = 10.0
# the search's time is recorded as often while nothing ends
SAVE_SECONDS = 60.0
FINGERPRINT = "data_fingerprint"


@dataclass
class _Run:
    """A run that has not ended, as far as this process knows: of a proposal, or of a trial again with a seed."""

    name: str
    identity: str
    proposal: Proposal | None = None
    again: tuple[Trial, int] | None = None
    reporter: TrialReporter | None = None
    scores: DevScores | None = None
    reason: str = ""
    watched_since: float = field(default_factory=lambda: time.time())


class TrialRuns:
    """Runs what a search proposes on a cluster, as the protocol `sharpen.tuning.search.Trials` says.

    A run's name is that of the search and the trial's number, by which one is found that was submitted by a process
    that died before it recorded the run's id.

    Args:
        study: of the search.
        submission: how runs are submitted.
        parallel: runs at a time.
    """

    def __init__(self, study: Study, submission: Submission, parallel: int) -> None:
        self._study, self._submission, self._parallel = study, submission, parallel
        self._api = submission.api
        self.seed = submission.groups.training.seed
        self._running: dict[str, _Run] = {}
        self._deleted: set[int] = set()
        self._deletes = True

    @property
    def slots(self) -> int:
        """Runs at a time; one until there is a dev score, since data and negatives are in Kubeflow's cache then."""
        return self._parallel if self._study.fact(FINGERPRINT) else 1

    def goes_on(self, proposal: Proposal) -> bool:
        """Whether there is a run of a proposal of an earlier process; it may have ended since."""
        name = self._name(proposal.number)
        identity = proposal.run or self._submission.find(name)
        if not identity:
            return False
        try:
            runs.get(self._api, identity)
        except InputError:
            return False
        if not proposal.run:
            self._study.runs_as(proposal, identity)
        self._watch(name, identity, proposal)
        show.line(f"trial {proposal.number}: its run {identity} is taken up again", "")
        return True

    def start(self, proposal: Proposal) -> str:
        """Submit a proposal; the id of its run."""
        name = self._name(proposal.number)
        identity = self._submission.submit(name, proposal.values)
        self._watch(name, identity, proposal)
        show.line(f"trial {proposal.number}: run {name} {identity}; {self._api.link('runs', identity)}", "")
        return identity

    def wait(self, ends_at: float | None) -> tuple[Proposal, Result] | None:
        """The next trial that ends; None where none has, and others may begin or a minute is over."""
        found = self._next(ends_at)
        if found is None:
            return None
        run, result = found
        assert run.proposal is not None
        return run.proposal, result

    def repeat(self, wanted: Sequence[tuple[Trial, int]], ends_at: float | None) -> Iterator[Repeat]:
        """Train settings again with other seeds, as runs of their own; no comparison with others ends one.

        Args:
            wanted: trials, whose settings, and seeds.
            ends_at: when the time of the search is over, in seconds since the epoch; None: never.
        """
        waiting = list(wanted)
        while waiting or self._running:
            while waiting and len(self._running) < self._parallel:
                trial, seed = waiting.pop(0)
                name = f"{self._name(trial.number)}-seed-{seed}"
                identity = self._submission.submit(name, {**trial.values, "training.seed": seed})
                self._running[name] = _Run(name, identity, again=(trial, seed))
            if found := self._next(ends_at):
                run, result = found
                assert run.again is not None
                self._delete(result.model)
                yield Repeat(run.again[0].number, run.again[1], replace(result, model=""))

    def end(self) -> None:
        """Cancel what still runs."""
        for run in self._running.values():
            with contextlib.suppress(InputError):
                runs.cancel(self._api, runs.get(self._api, run.identity))
        self._running.clear()

    def keep_models(self, numbers: Collection[int]) -> None:
        """Delete the models of all trials but these."""
        for trial in self._study.trials():
            if trial.number not in numbers and trial.number not in self._deleted and trial.result.model:
                self._deleted.add(trial.number)
                self._delete(trial.result.model)

    def compare(self, best: Trial, start: Trial) -> dict[str, Any] | None:
        """nDCG@10 of each dev query as both trainings wrote it at their best step; None where one's is not there.

        Nothing is encoded here, so it is the nDCG@10 in the passages that trainings search.
        """
        import numpy as np

        from sharpen.evaluation.settings import EvaluationSettings
        from sharpen.evaluation.significance import paired

        of_start, of_best = (
            DevScores.read(self._submission.address_of(self._name(trial.number))) for trial in (start, best)
        )
        if of_best is None or of_start is None or of_best.groups != of_start.groups:
            return None
        before, after = (np.array(one.best_values)[:, None] for one in (of_start, of_best))
        if not len(before) or len(before) != len(after):
            return None
        settings = EvaluationSettings.checked({})
        level = {"confidence_level": settings.confidence_level}
        groups = [str(number) for number in of_best.groups]
        (found,) = paired(before, after, groups, resamples=settings.resamples, seed=settings.seed, **level)
        return {**asdict(found), **level, "searched_part": True}

    def _name(self, number: int) -> str:
        return f"{self._submission.name}-{number:03}"

    def _watch(self, name: str, identity: str, proposal: Proposal) -> None:
        reporter = TrialReporter(self._study.folder, proposal.trial, self._study.settings)
        self._running[name] = _Run(name, identity, proposal, reporter=reporter)

    def _next(self, ends_at: float | None) -> tuple[_Run, Result] | None:
        """The next run that ends, no longer watched; None where others may begin, or a minute is over."""
        slots, since = self.slots, time.monotonic()
        while True:
            for run in list(self._running.values()):
                if (result := self._look(run, ends_at)) is not None:
                    del self._running[run.name]
                    return run, result
            if self.slots > slots or time.monotonic() - since > SAVE_SECONDS:
                return None
            time.sleep(POLL_SECONDS)

    def _look(self, run: _Run, ends_at: float | None) -> Result | None:
        """What came of a run; None while it goes on."""
        try:
            found = runs.get(self._api, run.identity)
        except InputError as fault:
            return Result(state="failed", reason=one_line(str(fault), 500))
        run.scores = DevScores.read(self._submission.address_of(run.name)) or run.scores
        self._read(run)
        state = runs.state(found)
        if state in runs.FINISHED:
            return self._ended(run, found, state)
        if not run.reason and ends_at is not None and time.time() > ends_at:
            run.reason = OUT_OF_TIME
        if not run.reason:
            return None
        runs.cancel(self._api, found)
        early = run.reason in (OUT_OF_TIME, OTHERS_BETTER)
        return self._result(run, found, "pruned" if early else "failed")

    def _read(self, run: _Run) -> None:
        """Tell the study the run's new dev scores, and see whether it is worth going on."""
        if run.scores is None:
            return
        known = self._study.fact(FINGERPRINT)
        if known is None:
            self._study.set_fact(FINGERPRINT, run.scores.data_fingerprint)
            facts = self._study.fact(FACTS) or {}
            self._study.set_fact(FACTS, {**facts, "dev_queries": run.scores.queries})
        elif known != run.scores.data_fingerprint:
            run.reason = "its data are not those of the trials before: the sources have changed since"
            return
        if run.reporter is None:
            return
        points = [point for point in run.scores.points if point[0] > 0]
        for step, score, _ in points[run.reporter.reported :]:
            if run.reporter.report(score) and step < run.scores.steps:
                run.reason = OTHERS_BETTER
                return

    def _ended(self, run: _Run, found: Object, state: str) -> Result:
        if state == "CANCELED":
            return self._result(run, found, "failed", "its run was cancelled")
        if state == "FAILED":
            steps = Steps(self._api, found, graph_of(self._api, found))
            why = "; ".join(map(str, steps.failures())) or "its run failed; the server does not say at which step"
            return self._result(run, found, "failed", why)
        if run.reason and run.reason != OTHERS_BETTER:
            return self._result(run, found, "failed")
        points = run.scores.points if run.scores else []
        if run.scores is None or not points or points[-1][0] < run.scores.steps:
            gone = f"its run succeeded, but its last dev score is not at {self._submission.address_of(run.name)}"
            return self._result(run, found, "failed", gone)
        return self._result(run, found, "complete")

    def _result(self, run: _Run, found: Object, state: Any, reason: str = "") -> Result:
        began, ended = moment(found.get("created_at")), moment(found.get("finished_at"))
        # the server's clock may differ from this one
        seconds = (ended - began).total_seconds() if began and ended else time.time() - run.watched_since
        scores, points = run.scores, run.scores.points if run.scores else []
        later = [(step, score) for step, score, _ in points if step > 0]
        complete = state == "complete"
        return Result(
            score=max((score for _, score in later), default=None),
            scores=[(step / scores.steps, score) for step, score in later] if scores else [],
            state=state,
            seconds=seconds,
            training_seconds=points[-1][2] - points[0][2] if points else 0.0,
            base_score=next((score for step, score, _ in points if step == 0), None),
            steps=points[-1][0] if points else 0,
            reason="" if complete else one_line(reason or run.reason, 500),
            model=scores.model if scores and complete else "",
        )

    def _delete(self, model: str) -> None:
        """Delete a model, unless the store of models cannot be reached or changed from here."""
        if not storage.is_remote(model) or not self._deletes:
            return
        try:
            storage.delete(model)
        except SharpenError as fault:
            self._deletes = False
            show.line(f"note: models of trials stay, such as {model} ({one_line(str(fault), 300)})", "")
