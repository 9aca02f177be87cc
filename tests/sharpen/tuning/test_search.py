"""A search over a formula whose best values are known: found, resumed, ended early, and within its budget."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sharpen.errors import InputError, StepFailed
from sharpen.tuning import search as search_module
from sharpen.tuning.journal import JOURNAL
from sharpen.tuning.records import Result, Trial, best, complete, pareto_front
from sharpen.tuning.search import search
from tests.sharpen.tuning.synthetic import BEST, GROUPS, HANGS_IN, RANGES, Synthetic, begun


def summary(trials: list[Trial]) -> list[tuple[Any, ...]]:
    return [(t.number, t.values, t.result.state, t.result.score) for t in trials]


def test_the_best_values_are_found_and_a_seed_finds_them_again(tmp_path: Path) -> None:
    study = begun(tmp_path / "a", trials=30)
    search(study, Synthetic(study))
    found = best(study.trials())
    assert found is not None
    for name, value in BEST.items():
        assert abs(math.log10(found.values[name] / value)) < 0.35, (name, found.values)
    assert found.score > 0.77
    again = begun(tmp_path / "b", trials=6)
    search(again, Synthetic(again))
    assert summary(again.trials()) == summary(study.trials())[:6]
    other = begun(tmp_path / "c", trials=3, seed=1)
    search(other, Synthetic(other))
    assert summary(other.trials())[1:] != summary(study.trials())[1:3]


def test_halving_ends_those_below_the_best_half_of_a_rung_and_no_others(tmp_path: Path) -> None:
    study = begun(tmp_path, trials=16, repeats=0)
    search(study, Synthetic(study))
    rungs: dict[int, list[float]] = {1: [], 2: [], 4: []}
    for trial in study.trials():
        expected = 4
        for at, before in rungs.items():
            value = trial.result.scores[at - 1][1]
            before.append(value)
            if value < sorted(before)[-max(1, len(before) // 2)]:
                expected = at
                break
        assert len(trial.result.scores) == expected, trial
        assert (trial.result.state == "pruned") == (expected < 4)
    assert len(complete(study.trials())) < 10


def test_without_pruning_all_are_trained_to_the_end(tmp_path: Path) -> None:
    study = begun(tmp_path, trials=5, pruning="off", repeats=0)
    search(study, Synthetic(study))
    assert len(complete(study.trials())) == 5


@pytest.mark.processes
def test_a_search_that_is_killed_goes_on_and_tries_what_it_would_have_tried(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    command = [sys.executable, "-m", "tests.sharpen.tuning.synthetic", str(tmp_path / "a"), str(mark)]
    child = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while not mark.exists() and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.05)
    child.kill()
    child.wait()
    with (tmp_path / "a" / JOURNAL).open("a") as journal:
        journal.write('{"op_code": 5, "worker_id": "torn')  # as a process leaves it that is killed while it writes
    broken = begun(tmp_path / "a")
    assert [trial.result.state for trial in broken.trials()][HANGS_IN:] == ["running"]
    search(broken, Synthetic(broken))
    whole = begun(tmp_path / "b")
    search(whole, Synthetic(whole))
    assert summary(broken.trials()) == summary(whole.trials())
    assert len(whole.trials()) == 8


def test_a_search_with_more_trials_goes_on_and_one_of_another_space_is_refused(tmp_path: Path) -> None:
    study = begun(tmp_path, trials=2)
    search(study, Synthetic(study))
    first = summary(study.trials())
    study = begun(tmp_path, trials=4)
    search(study, Synthetic(study))
    assert summary(study.trials())[:2] == first and len(study.trials()) == 4
    with pytest.raises(InputError, match="holds a search with another space"):
        begun(tmp_path, RANGES[0])


class Hours:
    """A clock on which every trial takes an hour."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


def test_no_trial_begins_after_the_minutes_are_over_and_some_are_left_for_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = Hours()
    monkeypatch.setattr(search_module, "time", hours)
    ends: list[float | None] = []

    def hour(number: int) -> None:
        hours.now += 3600

    class Timed(Synthetic):
        def wait(self, ends_at: float | None) -> tuple[Any, Result]:
            ends.append(ends_at)
            return super().wait(ends_at)

    study = begun(tmp_path, trials=50, minutes=300, repeats=0, pruning="off")
    search(study, Timed(study, hour))
    assert len(study.trials()) == 5 and ends == [5 * 3600.0] * 5
    # the time of an earlier start counts
    again = begun(tmp_path, trials=50, minutes=420, repeats=0, pruning="off")
    search(again, Timed(again, hour))
    assert len(again.trials()) == 7 and again.elapsed == 7 * 3600
    # a third of the time is kept for the repeats, as they take longer than that; here they have it
    reserved = begun(tmp_path / "reserved", trials=50, minutes=360, repeats=2, pruning="off")
    monkeypatch.setattr(search_module, "_seconds_of_full", lambda study: 3600.0)
    search(reserved, Timed(reserved, hour))
    assert len(reserved.trials()) == 4


def test_no_time_is_kept_for_repeats_while_the_settings_of_the_start_lead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = Hours()
    monkeypatch.setattr(search_module, "time", hours)
    monkeypatch.setattr(search_module, "_seconds_of_full", lambda study: 3600.0)

    def hour(number: int) -> None:
        hours.now += 3600

    study = begun(tmp_path, trials=50, minutes=360, repeats=2, pruning="off")
    first = {one.name: GROUPS.value(one.name) for one in study.space}
    search(study, Synthetic(study, hour, lambda values: 0.9 if values == first else 0.1))
    assert len(study.trials()) == 6 and study.repeats() == []


def test_a_trial_that_fails_is_recorded_and_three_at_the_start_end_the_search(tmp_path: Path) -> None:
    class Failing(Synthetic):
        def wait(self, ends_at: float | None) -> tuple[Any, Result]:
            if (proposal := self.started[-1]).number in fails:
                self.started.pop()
                return proposal, Result(state="failed", reason="CUDA out of memory")
            return super().wait(ends_at)

    fails = {1, 2}
    study = begun(tmp_path / "two", trials=5, repeats=0)
    search(study, Failing(study))
    assert [trial.result.state == "failed" for trial in study.trials()] == [False, True, True, False, False]
    fails = {0, 1, 2}
    study = begun(tmp_path / "three", trials=5)
    with pytest.raises(StepFailed, match="the first 3 trials failed, so the search ends: CUDA out of memory"):
        search(study, Failing(study))
    assert len(study.trials()) == 3


def test_the_best_is_trained_again_with_other_seeds_as_is_the_start_and_both_are_compared_once(tmp_path: Path) -> None:
    study = begun(tmp_path, trials=6, repeats=2)
    trials = Synthetic(study)
    search(study, trials)
    leader = best(study.trials())
    assert leader is not None and leader.number != 0
    assert [(one.trial, one.seed) for one in study.repeats()] == [
        (0, 43), (leader.number, 43), (0, 44), (leader.number, 44)
    ]  # fmt: skip
    assert trials.compared == [(leader.number, 0)]
    search(study, Synthetic(study))
    assert len(study.repeats()) == 4


@pytest.mark.parametrize("second", ["seconds", "guard"])
def test_the_front_is_what_nothing_beats(second: str) -> None:
    import random

    draw = random.Random(3)
    trials = [
        Trial(n, {}, Result(score=draw.randint(0, 9) / 10, training_seconds=draw.randint(1, 9), guard=draw.random()))
        for n in range(60)
    ]

    def figures(trial: Trial) -> tuple[float, float]:
        cost = -trial.result.training_seconds if second == "seconds" else trial.result.guard
        assert cost is not None
        return trial.score, cost

    def beaten(one: Trial) -> bool:
        mine = figures(one)
        return any(
            all(a >= b for a, b in zip(figures(other), mine, strict=True)) and figures(other) != mine
            for other in trials
        )

    expected = {figures(trial) for trial in trials if not beaten(trial)}
    front = pareto_front(trials, second)
    assert {figures(trial) for trial in front} == expected and len(front) == len(expected)
