"""The report of a search: its figures, what it says of how sure it is, and that it is whole and safe."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from sharpen.tuning.records import Repeat, Result, Trial, best
from sharpen.tuning.report.page import best_yaml, render_page
from sharpen.tuning.report.sentences import Outcome, how_sure, verdict
from sharpen.tuning.search import search
from sharpen.tuning.study import COMPARISON, Proposal, Study
from tests.browser import BROWSER, measure
from tests.sharpen.reports.html_pages import HOSTILE, check_page
from tests.sharpen.tuning.synthetic import RANGES, Synthetic, begun, score


def run_of(number: int) -> str:
    return f"3f2a9c1b-0000-4000-8000-{number:012}"


COMPARED = {"reference": 0.5, "candidate": 0.54, "difference": 0.04, "ci_low": -0.01, "ci_high": 0.09}
COMPARED |= {"p_value": 0.21, "queries": 100}


class Failing(Synthetic):
    """Trials are runs elsewhere, of which the third fails, with a foreign text as its reason."""

    def start(self, proposal: Proposal) -> str:
        super().start(proposal)
        return run_of(proposal.number)

    def wait(self, ends_at: float | None) -> tuple[Any, Result]:
        proposal, result = super().wait(ends_at)
        failed = Result(state="failed", reason=HOSTILE) if proposal.number == 2 else result
        return proposal, dataclasses.replace(failed, base_score=0.3)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    made = begun(folder, *RANGES, "training.train_group_size=2,4,8", "mining.sampling=top,random", trials=14)
    search(made, Failing(made, result=lambda values: score(values) + values["training.train_group_size"] / 100))
    leader = best(made.trials())
    assert leader is not None
    made.set_fact(COMPARISON, {**COMPARED, "best": leader.number})
    return made


def test_the_page_has_its_figures_all_trials_and_the_best_settings(study: Study) -> None:
    page = render_page(study)
    text = check_page(page)
    leader = best(study.trials())
    assert leader is not None
    assert f"Trial {leader.number} is the best on dev." in text
    for heading in ("What a better score costs", "Score by trial", "training.train_group_size", "How sure is it?"):
        assert heading in text
    assert HOSTILE not in page and HOSTILE in text
    assert all(run_of(trial.number) in text for trial in study.trials())
    assert page.count("<circle") >= 3 * len(study.trials()) and "sharpen run" in text
    pruned = sum(trial.result.state == "pruned" for trial in study.trials())
    assert f"14 trials: {13 - pruned} trained to the end, {pruned} ended early, 1 failed" in text
    written = yaml.safe_load(best_yaml(leader))
    assert {f"{group}.{name}": v for group, values in written.items() for name, v in values.items()} == leader.values


@pytest.mark.skipif(not BROWSER, reason="needs Chromium")
def test_the_page_fits_a_narrow_frame_and_asks_for_nothing(study: Study, tmp_path: Path) -> None:
    for seen in measure({"tune": render_page(study)}, (360, 1000), tmp_path):
        assert "violated" not in seen, seen
        assert seen["fetched"] == [] and seen["scrolls"] <= seen["width"] and seen["wide"] == [], seen


def test_the_importance_names_the_setting_that_matters(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    made = begun(tmp_path, *RANGES, trials=20, pruning="off", repeats=0)
    search(made, Synthetic(made, result=lambda values: score({**values, "training.temperature": 0.05})))
    found = made.importance()
    assert found["training.learning_rate"] > 0.9 and sum(found.values()) == pytest.approx(1)
    assert "What matters" in render_page(made)


def test_it_says_what_the_best_of_several_is_worth(study: Study) -> None:
    trials = [Trial(0, {}, Result(score=0.5, base_score=0.45)), Trial(1, {}, Result(score=0.55, base_score=0.45))]
    repeats = [Repeat(n, seed, Result(score=s)) for n, seed, s in ((0, 43, 0.51), (1, 43, 0.53), (0, 44, 0.5))]
    repeats.append(Repeat(1, 44, Result(score=0.52)))
    lines = how_sure(Outcome(trials, repeats, {**COMPARED, "best": 1}, 100))
    assert lines[0].startswith("Winner's curse: the best of 2 scores on the same 100 dev queries")
    assert "+.0400 [−.0100 … +.0900], p .210" in lines[1]
    assert "with 2 other seeds the best settings have .5250 (in the search .5500)" in lines[2]
    assert "those of the start .5050: +.0200" in lines[2]
    # the comparison of another best trial is not shown
    lines = how_sure(Outcome(trials, [], {**COMPARED, "best": 7}, 100))
    assert len(lines) == 2 and "not trained with other seeds" in lines[1]
    worse = [dataclasses.replace(t, result=dataclasses.replace(t.result, base_score=0.6)) for t in trials]
    assert verdict(Outcome(worse, [], None, 9))[1] == "No settings made the model better on dev."
    assert "No other settings are better" in verdict(Outcome(trials[:1], [], None, 9))[1]
    assert "No trial" in verdict(Outcome([], [], None, 9))[1]
