"""The search's memory: an Optuna study in a journal file, from which a search that was killed goes on.

Proposals are numbered. What is proposed depends on the seed, the number and the results so far, not on the process, so
that a search that was broken off tries what it would have tried.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpen.errors import InputError
from sharpen.tuning.journal import JOURNAL, NAME, cut_torn_line, import_optuna, make_pruner, open_storage
from sharpen.tuning.records import Repeat, Result, Trial, complete
from sharpen.tuning.settings import TuningSettings
from sharpen.tuning.space.dimension import Dimension
from sharpen.tuning.space.search_space import Space

if TYPE_CHECKING:
    import optuna

# names of facts that are kept: of the search, and of the best model beside that of the start
FACTS, COMPARISON = "facts", "comparison"
_LEAST_RANDOM = 4
# what the trials of a study hold
_PROPOSAL, _RESULT, _RUN = "proposal", "result", "run"


@dataclass(frozen=True)
class Proposal:
    """Settings to try.

    Attributes:
        number: of the proposal.
        values: full name -> value.
        trial: number of the trial in the study.
        run: what names the trial where it runs, such as the id of a run; empty on this machine.
    """

    number: int
    values: dict[str, Any]
    trial: int
    run: str = ""


class Study:
    """A search's trials in a folder.

    Args:
        folder: local; it is made where it is not there.
        space: what is searched.
        settings: of the search.

    Raises:
        InputError: Optuna is not installed.
    """

    def __init__(self, folder: Path, space: Space, settings: TuningSettings) -> None:
        self.folder, self.space, self.settings = folder, space, settings
        self._optuna = import_optuna()
        folder.mkdir(parents=True, exist_ok=True)
        cut_torn_line(folder / JOURNAL)
        self._storage = open_storage(self._optuna, folder)
        self._study = self._optuna.create_study(
            storage=self._storage,
            study_name=NAME,
            direction="maximize",
            load_if_exists=True,
            pruner=make_pruner(settings),
        )

    def begin(self, identity: dict[str, Any], start: dict[str, Any]) -> None:
        """Make it the study of one search; its first proposal is what the search begins with.

        Args:
            identity: what trials depend on besides their values; must be that of the earlier starts.
            start: full name -> value of the searched settings before the search.

        Raises:
            InputError: the folder has another search.
        """
        wanted = json.loads(json.dumps({"space": [dataclasses.asdict(one) for one in self.space], **identity}))
        before = self._study.user_attrs.get("identity")
        if before is None:
            self._study.set_user_attr("identity", wanted)
        elif before != wanted:
            changed = ", ".join(name for name in sorted({*before, *wanted}) if before.get(name) != wanted.get(name))
            raise InputError(
                f"{self.folder}: holds a search with another {changed}; name another folder, or delete this one"
            )
        if not self._study.get_trials(deepcopy=False):
            inside = {one.name: start[one.name] for one in self.space if one.contains(start[one.name])}
            self._study.enqueue_trial(inside, user_attrs={_PROPOSAL: [0, start]})

    def recover(self, goes_on: Callable[[Proposal], bool]) -> list[Proposal]:
        """What ran when the last process ended: it is proposed again, but for what still runs elsewhere.

        Args:
            goes_on: whether a proposal still runs.

        Returns:
            those that do.
        """
        running = []
        waiting = {trial.user_attrs[_PROPOSAL][0] for trial in self._trials("WAITING")}
        for trial in self._trials("RUNNING"):
            if proposed := trial.user_attrs.get(_PROPOSAL):
                number, values = proposed
                proposal = Proposal(number, values, trial.number, trial.user_attrs.get(_RUN, ""))
                if goes_on(proposal):
                    running.append(proposal)
                    continue
                if proposal.number not in waiting:
                    self._study.enqueue_trial(dict(trial.params), user_attrs={_PROPOSAL: proposed})
            self._study.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)
        return running

    def proposed(self) -> int:
        """How many proposals there are so far."""
        return len({t.user_attrs[_PROPOSAL][0] for t in self._trials() if _PROPOSAL in t.user_attrs})

    def wants_more(self) -> bool:
        """Whether a proposal waits to be tried again, or there are fewer than the search may make."""
        return bool(self._trials("WAITING")) or self.proposed() < self.settings.trials

    def propose(self) -> Proposal:
        """The next settings to try."""
        self._study.sampler = self._optuna.samplers.TPESampler(
            seed=(self.settings.seed * 1_000_003 + self.proposed()) % 2**32,
            # what runs beside it counts as bad so far, so that the same is not tried twice
            constant_liar=bool(self._trials("RUNNING")),
            n_startup_trials=max(_LEAST_RANDOM, len(self.space) + 1),
        )
        trial = self._study.ask()
        if proposed := trial.user_attrs.get(_PROPOSAL):
            number, values = proposed
            for one in self.space:
                if one.contains(values[one.name]):
                    _suggest(trial, one)
        else:
            number, values = self.proposed(), {one.name: _suggest(trial, one) for one in self.space}
            trial.set_user_attr(_PROPOSAL, [number, values])
        return Proposal(number, values, trial.number)

    def runs_as(self, proposal: Proposal, run: str) -> None:
        """Record what names a proposal where it runs."""
        self._storage.set_trial_user_attr(self._id(proposal.trial), _RUN, run)

    def finish(self, proposal: Proposal, result: Result) -> None:
        """Keep what came of a proposal."""
        self._storage.set_trial_user_attr(self._id(proposal.trial), _RESULT, dataclasses.asdict(result))
        states = self._optuna.trial.TrialState
        if result.state == "complete" and result.score is not None:
            self._study.tell(proposal.trial, result.score)
        elif result.state == "pruned":
            self._study.tell(proposal.trial, state=states.PRUNED)
        else:
            self._study.tell(proposal.trial, state=states.FAIL)

    def trials(self) -> list[Trial]:
        """Every proposal, as the latest try of it ended, by their numbers."""
        found: dict[int, Trial] = {}
        for one in self._trials():
            proposed = one.user_attrs.get(_PROPOSAL)
            if proposed is None or one.state.name == "WAITING":
                continue
            result = one.user_attrs.get(_RESULT)
            number, values = proposed
            ended = _result(result) if result else Result(state="running")
            found[number] = Trial(number, values, ended, one.user_attrs.get(_RUN, ""))
        return [found[number] for number in sorted(found)]

    def importance(self) -> dict[str, float]:
        """Share of the differences in score that each setting explains (fANOVA); empty where that cannot be said."""
        if len(complete(self.trials())) < 2 * len(self.space) or len(self.space) < 2:
            return {}
        try:
            found = self._optuna.importance.get_param_importances(self._study, evaluator=_evaluator(self._optuna))
        except (ImportError, ValueError, RuntimeError):
            return {}
        return {str(name): float(share) for name, share in found.items()}

    @property
    def elapsed(self) -> float:
        """Seconds that the search took, over all its starts."""
        return float(self._study.user_attrs.get("elapsed", 0.0))

    def add_elapsed(self, seconds: float) -> None:
        """Count seconds to `elapsed`."""
        self._study.set_user_attr("elapsed", self.elapsed + seconds)

    def repeats(self) -> list[Repeat]:
        """What was trained again with other seeds."""
        stored = self._study.user_attrs.get("repeats", [])
        return [Repeat(one["trial"], one["seed"], _result(one["result"])) for one in stored]

    def add_repeat(self, repeat: Repeat) -> None:
        """Keep a repeat."""
        every = [dataclasses.asdict(one) for one in (*self.repeats(), repeat)]
        self._study.set_user_attr("repeats", every)

    def set_fact(self, name: str, value: Any) -> None:
        """Keep a fact of the search under a name."""
        self._study.set_user_attr(f"fact:{name}", value)

    def fact(self, name: str) -> Any:
        """What was kept under a name; None where nothing was."""
        return self._study.user_attrs.get(f"fact:{name}")

    def _trials(self, *states: str) -> list[optuna.trial.FrozenTrial]:
        wanted = tuple(self._optuna.trial.TrialState[name] for name in states) or None
        return self._study.get_trials(deepcopy=False, states=wanted)

    def _id(self, number: int) -> int:
        return self._trials()[number]._trial_id


def _suggest(trial: optuna.trial.Trial, one: Dimension) -> Any:
    if one.choices:
        return trial.suggest_categorical(one.name, one.choices)
    assert one.low is not None
    assert one.high is not None
    if one.whole:
        return trial.suggest_int(one.name, int(one.low), int(one.high), log=one.log)
    # three digits, so that what is shown and written is what was tried
    drawn = float(f"{trial.suggest_float(one.name, one.low, one.high, log=one.log):.3g}")
    return min(max(drawn, one.low), one.high)


def _result(stored: dict[str, Any]) -> Result:
    return Result(**{**stored, "scores": [(share, score) for share, score in stored["scores"]]})


def _evaluator(optuna: Any) -> Any:
    # scikit-learn is not installed everywhere; without it the default evaluator cannot be made
    return optuna.importance.FanovaImportanceEvaluator(seed=0)
