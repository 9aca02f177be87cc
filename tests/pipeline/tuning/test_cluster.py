"""`sharpen tune --cluster` against an API that checks every request, and a real store."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipeline import parameters
from pipeline.graph import make_pipeline
from pipeline.run_plan import checked_settings
from pipeline.tuning import trial_runs
from pipeline.tuning.searched import check_searchable
from sharpen.evaluation.significance import paired
from sharpen.reports.formatting import interval, number
from sharpen.store import storage
from sharpen.tuning import search
from tests.pipeline.cluster.conftest import IMAGE, Sharpen
from tests.pipeline.cluster.fake_backend import FINISHED, Call, Object
from tests.pipeline.cluster.fake_kfp import FakeKfp
from tests.pipeline.tuning.played import GROUPS, Played, number_of, runs_of, score, settings_in, values
from tests.sharpen.reports.html_pages import check_page

SEARCH = ("--search", "training.learning_rate=1e-6..1e-2:log", "--folder", "found")


def command(root: str, *more: str) -> tuple[str, ...]:
    data = ("--set", "train_data=s3://data/train.jsonl", "--set", f"store={root}", "--set", "model_name=help")
    model = ("--set", "base_model=BAAI/bge-small-en-v1.5")
    return ("tune", "--cluster", "--image", IMAGE, *data, *model, *SEARCH, *more)


def test_a_search_tries_several_at_a_time_ends_the_worse_early_and_trains_the_best_again(
    kfp: FakeKfp, on: Sharpen, root: str, tmp_path: Path
) -> None:
    # the second trial is the slowest of all, so that later ones end before it
    played = Played(kfp, looks=lambda number: 7 if number == 1 else 1)
    done = on(*command(root, "--trials", "9", "--parallel", "3", "--repeats", "1"))
    assert done.code == 0, done.err
    assert (played.together, played.together_before) == (3, 1)
    runs = runs_of(kfp)
    trials = {name: run for name, run in runs.items() if "seed" not in name}
    assert sorted(trials) == [f"{number:03}" for number in range(9)]
    ended = [int(number) for number in re.findall(r"^trial (\d+) \(", done.out, re.MULTILINE)]
    assert sorted(ended) == [*range(9)] and ended.index(1) > ended.index(2)
    assert {run["state"] for run in trials.values()} == {"SUCCEEDED", "CANCELING"}, "none was ended early"
    best = max((run for run in trials.values() if run["state"] == "SUCCEEDED"), key=lambda run: score(settings_in(run)))
    again = {name: settings_in(run) for name, run in runs.items() if "seed" in name}
    assert sorted(again) == sorted(["000-seed-43", f"{number_of(best):03}-seed-43"])
    assert {settings.training.seed for settings in again.values()} == {43}
    # one experiment and one version, of a pipeline of its own
    assert [one["display_name"] for one in kfp.state.experiments.values()] == ["help-tune"]
    assert [one["name"] for one in kfp.state.pipelines.values()] == ["sharpen-trial"]
    assert len(kfp.state.versions) == 1
    # models of all but the best and the start are gone
    kept = {name for name, run in runs.items() if storage.list_files(played.model(run))}
    assert kept == {"000", f"{number_of(best):03}"}
    text = check_page((tmp_path / "found" / "tune.html").read_text(encoding="utf-8"))
    assert all(run["run_id"] in text for run in trials.values()) and "120 dev queries" in text
    assert "with 1 other seed the best settings have" in text
    # the interval of the figures that both trainings wrote
    figures = [values(number, score(settings_in(runs[f"{number:03}"]))) for number in (0, number_of(best))]
    (found,) = paired(
        *(one.round(6)[:, None] for one in figures),
        [str(group) for group in GROUPS],
        resamples=10_000,
        confidence_level=0.95,
        seed=42,
    )
    assert f"120 dev queries in the passages that a training searches nDCG@10 is {number(found.reference, 4)}" in text
    assert f"[{interval(found.ci_low, found.ci_high, 4)}]" in text and found.groups == 60
    written = parameters.load(tmp_path / "found" / "best.yaml")
    assert written.training.learning_rate == settings_in(best).training.learning_rate
    assert not written.training.dev_scores_address and not written.retraining.force and written.notification.on
    assert f"submit --config found/best.yaml --image {IMAGE} --endpoint {kfp.url}" in done.out
    assert "sharpen status --experiment help-tune" in done.out


def test_a_trial_cannot_look_at_test_nor_promote_nor_tell_anyone_and_has_no_secret(
    kfp: FakeKfp, on: Sharpen, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Played(kfp)
    assert on(*command(root, "--trials", "1", "--evaluations", "2")).code == 0
    (run,), (version,) = kfp.state.runs.values(), kfp.state.versions.values()
    spec = version["pipeline_spec"]["pipeline_spec"]
    steps = {name.removeprefix("exec-") for name in spec["deploymentSpec"]["executors"]}
    assert steps == {"plan", "data-prep", "hard-negatives", "finetuning", "finish"}
    settings = settings_in(run)
    assert settings.retraining.force and settings.notification.on == ()
    assert (settings.training.eval_steps, settings.training.early_stopping_patience) == (0.5, 0)
    assert (
        settings.training.dev_scores_address == f"{root}/tuning/{run['display_name'][:-4]}/{run['display_name']}.json"
    )
    # the run's first step takes them
    dags = (part.get("dag", {}).get("tasks", {}) for part in spec["components"].values())
    (first,) = (tasks["plan"] for tasks in dags if "plan" in tasks)
    compiled = yaml.safe_load(first["inputs"]["parameters"]["compiled"]["runtimeValue"]["constant"])
    monkeypatch.setenv("SHARPEN_STORE", root)
    checked_settings(run["runtime_config"]["parameters"], compiled)
    secrets = [os.environ[name] for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")]
    assert all(len(secret) > 4 and secret not in str((run, version)) for secret in secrets)


def test_steps_before_fine_tuning_are_part_of_a_trial() -> None:
    settings = parameters.load(None, ["store=s3://b", "pretraining.enabled=true", "teachers.enabled=true"])
    check_searchable(settings, on_cluster=True)
    spec = make_pipeline(1, settings, **settings.optional_steps(), trial=True).pipeline_spec
    steps = {name.removeprefix("comp-") for name, one in spec.components.items() if one.executor_label}
    assert steps == {"plan", "data-prep", "pretraining", "hard-negatives", "teachers", "finetuning", "finish"}


def test_a_run_that_fails_or_is_cancelled_is_a_result_and_the_search_goes_on(
    kfp: FakeKfp, on: Sharpen, root: str, tmp_path: Path
) -> None:
    def fate(run: Object) -> bool:
        if number_of(run) == 1:
            kfp.set_tasks(run, {"display_name": "finetuning", "state": "FAILED"})
            kfp.set_log(run, "finetuning", "error: CUDA out of memory\n")
            played.end(run, "FAILED")
        elif number_of(run) == 2:
            kfp.set_state(run, "CANCELING")
        elif number_of(run) == 4:
            played.end(run, "SUCCEEDED")
        return number_of(run) in (1, 2, 4)

    played = Played(kfp, fate=fate, fingerprint=lambda number: "other" if number == 3 else "data")
    done = on(*command(root, "--trials", "6", "--pruning", "off", "--repeats", "0"))
    assert done.code == 0, done.err
    assert "finetuning: CUDA out of memory" in done.out
    text = check_page((tmp_path / "found" / "tune.html").read_text(encoding="utf-8"))
    assert "6 trials: 2 trained to the end, 4 failed" in text
    for reason in (
        "CUDA out of memory",
        "its run was cancelled",
        "the sources have changed since",
        "its last dev score",
    ):
        assert reason in text
    assert {run["state"] for run in kfp.state.runs.values()} <= {*FINISHED, "CANCELING"}


def test_three_failures_at_the_start_end_the_search_and_cancel_what_runs(kfp: FakeKfp, on: Sharpen, root: str) -> None:
    def fate(run: Object) -> bool:
        if number_of(run) in (0, 1, 2) and len(kfp.state.runs) >= min(4, number_of(run) + 3):
            played.end(run, "FAILED")
            return True
        return number_of(run) == 3

    played = Played(kfp, fate=fate)
    done = on(*command(root, "--trials", "9", "--parallel", "4"))
    assert done.code == 1 and "the first 3 trials failed, so the search ends" in done.err
    assert all(run["state"] in ("CANCELING", *FINISHED) for run in kfp.state.runs.values())


class Clock:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = self.started = time.time()

    def time(self) -> float:
        return self.now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_when_the_minutes_are_over_runs_are_cancelled_and_what_they_reached_is_recorded(
    kfp: FakeKfp, on: Sharpen, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    for module in (search, trial_runs):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(trial_runs, "POLL_SECONDS", 10.0)
    Played(kfp, looks=lambda number: 1 if number == 0 else 10_000)
    done = on(*command(root, "--trials", "50", "--parallel", "3", "--minutes", "5", "--repeats", "0"))
    assert 300 < clock.now - clock.started <= 320
    assert done.code == 0, done.err
    assert "the time of the search is over after 4 of 50 trials" in done.out
    assert [run["state"] for run in kfp.state.runs.values()] == ["SUCCEEDED"] + ["CANCELING"] * 3
    text = check_page((tmp_path / "found" / "tune.html").read_text(encoding="utf-8"))
    assert "4 trials: 1 trained to the end, 3 ended early" in text and "the time of the search was over" in text


@pytest.mark.processes
def test_a_search_that_is_killed_takes_its_runs_up_again_and_submits_none_twice(
    kfp: FakeKfp, on: Sharpen, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed after the server has made its third run, before it hears of it."""
    options = command(root, "--trials", "5", "--parallel", "3", "--pruning", "off", "--repeats", "0")
    answer, died = kfp.handle, []

    def handle(call: Call) -> Object:
        made = answer(call)
        if call.operation == "RunService_CreateRun" and len(kfp.state.runs) == 3 and not died:
            died.append(1)
            child.kill()
        return made

    monkeypatch.setattr(kfp, "handle", handle)
    # nothing ends before it is killed
    Played(kfp, looks=lambda number: 1 if died or number == 0 else 10_000, figures=False)
    code = f"""
import sys
from pipeline.tuning import trial_runs
from pipeline.tuning.searched import check_searchable
trial_runs.POLL_SECONDS = 0.05
from pipeline.cli import main
sys.argv = ["sharpen", *{[*options, "--endpoint", kfp.url]!r}]
main()
"""
    child = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.DEVNULL)
    child.wait(120)
    assert died and len(kfp.state.runs) == 3
    submitted = set(kfp.state.runs)
    Played(kfp, figures=False)
    done = on(*options)
    assert done.code == 0, done.err
    assert done.out.count("is taken up again") >= 2
    # nor is there an interval where trainings did not write their figures of each query
    assert "so there is no interval" in (tmp_path / "found" / "tune.html").read_text(encoding="utf-8")
    assert submitted < set(kfp.state.runs)
    assert sorted(runs_of(kfp)) == [f"{number:03}" for number in range(5)]
    assert "5 trials: 5 trained to the end" in done.out


def test_whoever_ends_the_search_is_told_what_to_do_with_its_runs(
    kfp: FakeKfp, on: Sharpen, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    Played(kfp, looks=lambda number: 10_000)
    monkeypatch.setattr(trial_runs.time, "sleep", interrupted)
    done = on(*command(root, "--trials", "2"))
    monkeypatch.undo()
    assert done.code == 130
    assert f"cancel them: sharpen cancel --all --experiment help-tune --endpoint {kfp.url}" in done.out
    assert [run["state"] for run in kfp.state.runs.values()] == ["RUNNING"]


def test_an_answer_that_is_lost_submits_nothing_twice(kfp: FakeKfp, on: Sharpen, root: str) -> None:
    Played(kfp, models="s3://of-the-cluster-alone")
    kfp.misbehave("RunService_CreateRun", status=0, done=True)
    done = on(*command(root, "--trials", "3", "--pruning", "off", "--repeats", "0"))
    assert done.code == 0, done.err
    assert sorted(runs_of(kfp)) == ["000", "001", "002"]
    # models that cannot be deleted from here are told of, and end nothing
    assert done.out.count("note: models of trials stay") == 1
    # the same command again has nothing to do, another image is another search
    assert on(*command(root, "--trials", "3", "--pruning", "off", "--repeats", "0")).code == 0
    assert len(kfp.state.runs) == 3
    other = [part.replace("0" * 64, "1" * 64) for part in command(root, "--trials", "4")]
    done = on(*other)
    assert done.code == 2 and "holds a search with another image" in done.err


@pytest.mark.model
def test_what_a_real_training_writes_is_what_the_search_reads(
    kfp: FakeKfp, on: Sharpen, root: str, tiny_model: Path, tmp_path: Path
) -> None:
    from sharpen.api.inputs import data_folder
    from sharpen.training.train import train
    from tests.sharpen.training.small_data import ENCODER, small_data

    data, facts = data_folder(small_data()), []

    def fate(run: Object) -> bool:
        settings = settings_in(run)
        facts.append(
            train(data.address, None, str(tiny_model), f"{root}/model", settings.training, ENCODER),
        )
        played.end(run, "SUCCEEDED")
        return True

    played = Played(kfp, fate=fate)
    given = ("training.max_steps=4", "training.train_batch_size=8", "training.train_group_size=2")
    options = ("--trials", "1", "--evaluations", "2", *(part for one in given for part in ("--set", one)))
    done = on(*command(root, *options))
    assert done.code == 0, done.err
    (trained,) = facts
    text = check_page((tmp_path / "found" / "tune.html").read_text(encoding="utf-8"))
    scores = [point["eval_dev_ndcg_at_10"] for point in trained["log"] if "eval_dev_ndcg_at_10" in point]
    assert len(scores) == 3
    # as all of them say: the best after the start, and the base model's
    shown = [f"{value:.4f}".lstrip("0") for value in (max(scores[1:]), scores[0])]
    assert f"{shown[0]} best nDCG@10 on dev, trial 0" in text and f"{shown[1]} base model" in text
    assert "dev queries 4" in text


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--cluster",), "--image: name the image"),
        (("--cluster", "--image", "x/y:latest"), "latest moves"),
        (("--cluster", "--image", IMAGE, "--set", "store="), "store: a search reads the trials' dev scores"),
        (("--cluster", "--image", IMAGE, "--set", "train_data=rows.jsonl"), "rows.jsonl is on this machine"),
        (("--cluster", "--image", IMAGE, "--second", "guard"), "--second guard: a trial on a cluster ends after"),
        (("--cluster", "--image", IMAGE, "--set", "merging.enabled=true"), "merging.enabled: a trial has no such step"),
        (("--parallel", "2"), "--parallel: only with --cluster"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_sent(
    kfp: FakeKfp, on: Sharpen, options: tuple[str, ...], fault: str, tmp_path: Path
) -> None:
    given = [part for part in command("s3://models/sharpen") if part not in ("--cluster", "--image", IMAGE)]
    done = on(*given, *options)
    assert done.code == 2 and fault in done.err, done.err
    assert kfp.calls == [] and list(tmp_path.iterdir()) == []
