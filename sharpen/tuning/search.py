"""The search itself: propose, try, keep, until trials or time are used up; then see how sure the best is."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from statistics import fmean
from typing import Any, Protocol

from sharpen.errors import StepFailed
from sharpen.progress import clock, progress
from sharpen.reports.formatting import number, plain
from sharpen.tuning.records import Repeat, Result, Trial, best, complete
from sharpen.tuning.study import COMPARISON, Proposal, Study

logger = logging.getLogger(__name__)

# trials that fail one after another from the start: the fault is not in what was searched
_FAILURES = 3


class Trials(Protocol):
    """Where trials run.

    Attributes:
        seed: of the trainings.
    """

    seed: int

    @property
    def slots(self) -> int:
        """Trials at a time, as of now."""
        ...

    def goes_on(self, proposal: Proposal) -> bool:
        """Whether a proposal of an earlier process still runs, or has ended since; `wait` gives its result then."""
        ...

    def start(self, proposal: Proposal) -> str:
        """Begin a trial; returns what names it there, empty on this machine."""
        ...

    def wait(self, ends_at: float | None) -> tuple[Proposal, Result] | None:
        """The next trial that ends; None where none has, and others may begin.

        Args:
            ends_at: after this time (seconds since the epoch) trials end early; None: never.
        """
        ...

    def repeat(self, wanted: Sequence[tuple[Trial, int]], ends_at: float | None) -> Iterator[Repeat]:
        """Train settings again with other seeds, each as it ends.

        Args:
            wanted: trials, whose settings, and seeds.
            ends_at: as for `wait`.
        """
        ...

    def end(self) -> None:
        """End what still runs."""
        ...

    def keep_models(self, numbers: Collection[int]) -> None:
        """Delete the models of all trials but these."""
        ...

    def compare(self, best: Trial, start: Trial) -> dict[str, Any] | None:
        """Both models on all dev queries; None where that cannot be."""
        ...


class _Clock:
    """The time that a search has used and has left, over all its starts."""

    def __init__(self, study: Study) -> None:
        self._study, self._counted = study, time.monotonic()
        minutes = study.settings.minutes
        self.limit = None if minutes is None else 60 * minutes

    def save(self) -> None:
        now = time.monotonic()
        self._study.add_elapsed(now - self._counted)
        self._counted = now

    @property
    def left(self) -> float:
        """Seconds; infinite without a limit."""
        if self.limit is None:
            return float("inf")
        return self.limit - self._study.elapsed - (time.monotonic() - self._counted)

    def ends_at(self, reserve: float = 0.0) -> float | None:
        """When the time is over but for a reserve, in seconds since the epoch."""
        return None if self.limit is None else time.time() + self.left - reserve


def search(study: Study, trials: Trials, changed: Callable[[], None] = lambda: None) -> None:
    """Search until the trials or the minutes of the settings are used up, then compare the best with the start.

    Args:
        study: what there is so far.
        trials: where they run.
        changed: called after each result.

    Raises:
        StepFailed: no trial could be trained to the end.
    """
    timer = _Clock(study)
    try:
        _try(study, trials, timer, changed)
        _check_any(study)
        _repeat(study, trials, timer, changed)
        _compare(study, trials)
    finally:
        timer.save()
    changed()


def _try(study: Study, trials: Trials, timer: _Clock, changed: Callable[[], None]) -> None:
    running = {proposal.number for proposal in study.recover(trials.goes_on)}
    ended = [one for one in study.trials() if one.result.state != "running"]
    total = study.settings.trials

    def may_begin() -> bool:
        return study.wants_more() and timer.left > _reserve(study, trials.slots)

    with progress("Search", total, "trials") as reporter:
        reporter.advance(len(ended), "")
        while running or may_begin():
            while len(running) < trials.slots and may_begin():
                proposal = study.propose()
                if run := trials.start(proposal):
                    study.runs_as(proposal, run)
                running.add(proposal.number)
            ended_one = trials.wait(timer.ends_at(_reserve(study, trials.slots)))
            timer.save()
            if ended_one is None:
                continue
            proposal, result = ended_one
            running.discard(proposal.number)
            study.finish(proposal, result)
            trials.keep_models(_models_to_keep(study.trials()))
            reporter.advance(1, _best_so_far(study))
            logger.info(_line(study, proposal, result, timer, trials.slots))
            changed()
            _check_beginning(study, trials)
    if study.wants_more():
        logger.info(f"the time of the search is over after {study.proposed()} of {total} trials")


def _models_to_keep(trials: list[Trial]) -> set[int]:
    leader = best(trials)
    return {0} | ({leader.number} if leader else set())


def _check_beginning(study: Study, trials: Trials) -> None:
    first = [trial.result for trial in study.trials()][:_FAILURES]
    if len(first) == _FAILURES and all(result.state == "failed" for result in first):
        trials.end()
        raise StepFailed(f"the first {_FAILURES} trials failed, so the search ends: {first[-1].reason}")


def _check_any(study: Study) -> None:
    if not complete(study.trials()):
        reasons = list(dict.fromkeys(trial.result.reason for trial in study.trials() if trial.result.reason))
        why = f": {'; '.join(reasons[:3])}" if reasons else ""
        raise StepFailed(f"no trial was trained to the end, so there is no best one{why}; allow more minutes or trials")


def _seconds_of_full(study: Study) -> float:
    full = [trial.result.seconds for trial in complete(study.trials())]
    return fmean(full) if full else 0.0


def _reserve(study: Study, slots: int) -> float:
    """Seconds for the repeats at the end, as far as is known how long they take; at most a third of the time.

    None while the settings of the start lead, which need no repeat.
    """
    leader = best(study.trials())
    if study.settings.minutes is None or leader is None or leader.number == 0:
        return 0.0
    rounds = math.ceil(2 * study.settings.repeats / slots)
    return min(rounds * _seconds_of_full(study), 20 * study.settings.minutes)


def _repeat(study: Study, trials: Trials, timer: _Clock, changed: Callable[[], None]) -> None:
    """Train the best settings and those of the start with other seeds, as pairs, as long as there is time for both."""
    found = study.trials()
    leader, start = best(found), _start(found)
    if leader is None or start is None or leader.number == start.number:
        return
    done = {(one.trial, one.seed) for one in study.repeats()}
    seeds = range(trials.seed + 1, trials.seed + 1 + study.settings.repeats)
    step = max(1, trials.slots // 2)
    for first in range(0, len(seeds), step):
        together = seeds[first : first + step]
        wanted = [(trial, seed) for seed in together for trial in (start, leader) if (trial.number, seed) not in done]
        if timer.left < math.ceil(len(wanted) / trials.slots) * _seconds_of_full(study):
            logger.info("no time is left to train the best settings with other seeds")
            return
        for repeat in trials.repeat(wanted, timer.ends_at()):
            study.add_repeat(repeat)
            score = repeat.result.score
            shown = "failed" if score is None else f"{number(score, 4)} nDCG@10 on dev"
            logger.info(f"settings of trial {repeat.trial} with seed {repeat.seed}: {shown}")
            timer.save()
            changed()


def _compare(study: Study, trials: Trials) -> None:
    """Compare the best trial's model with that of the start on all dev queries, once for each pair."""
    found = study.trials()
    leader, start = best(found), _start(found)
    if leader is None or start is None or leader.number == start.number:
        return
    known = study.fact(COMPARISON)
    if known and known["best"] == leader.number:
        return
    compared = trials.compare(leader, start)
    if compared is not None:
        study.set_fact(COMPARISON, {**compared, "best": leader.number})


def _start(trials: list[Trial]) -> Trial | None:
    return next((trial for trial in complete(trials) if trial.number == 0), None)


def _line(study: Study, proposal: Proposal, result: Result, timer: _Clock, slots: int) -> str:
    """What a person sees of a trial that has ended."""
    score = "no score" if result.score is None else f"{number(result.score, 4)} nDCG@10 on dev"
    what = {"complete": score, "pruned": f"{score}, ended early", "failed": f"failed: {result.reason}"}[result.state]
    values = ", ".join(
        f"{name.partition('.')[2]} {plain(value) if _is_number(value) else value}"
        for name, value in proposal.values.items()
    )
    parts = (f"{what} in {clock(result.seconds)}", _best_so_far(study), _left(study, timer, slots))
    return f"trial {proposal.number} ({values}): {'; '.join(filter(None, parts))}"


def _best_so_far(study: Study) -> str:
    leader = best(study.trials())
    return f"best {number(leader.score, 4)} (trial {leader.number})" if leader else ""


def _left(study: Study, timer: _Clock, slots: int) -> str:
    ended = [trial.result.seconds for trial in study.trials() if trial.result.state != "running"]
    remaining = max(0, study.settings.trials - len(ended))
    seconds = min(math.ceil(remaining / slots) * fmean(ended) if ended else float("inf"), max(0.0, timer.left))
    return f"{remaining} left, about {clock(seconds)}" if remaining else "the last"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
