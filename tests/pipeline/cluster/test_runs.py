"""`sharpen status` and `sharpen cancel` against an API that checks every request."""

from __future__ import annotations

import pytest

from tests.pipeline.cluster.conftest import ON_THE_STORE, Sharpen, task
from tests.pipeline.cluster.fake_backend import Object
from tests.pipeline.cluster.fake_kfp import FakeKfp


@pytest.fixture
def runs(kfp: FakeKfp, on: Sharpen) -> list[Object]:
    """Three runs, two of the same name."""
    for name in ("first", "twin", "twin"):
        assert on("submit", *ON_THE_STORE, "--run-name", name).code == 0
    return list(kfp.state.runs.values())


def test_the_latest_runs_are_listed(kfp: FakeKfp, on: Sharpen, runs: list[Object]) -> None:
    kfp.page_size = 1
    runs[0].update(state="SUCCEEDED", finished_at="2026-01-01T02:00:00Z")
    lines = on("status").out.splitlines()
    assert [line.split()[-1] for line in lines[1:]] == [run["run_id"] for run in reversed(runs)]
    assert lines[3].split()[:2] == ["first", "succeeded"]
    assert len(on("status", "-n", "2").out.splitlines()) == 3
    assert on("status", "--experiment", "none").out.startswith("no runs in the experiment none yet")


def test_a_run_is_shown_with_its_steps(kfp: FakeKfp, on: Sharpen, runs: list[Object]) -> None:
    kfp.set_tasks(runs[0], task("data-prep", "SUCCEEDED"), task("indexing", "FAILED"))
    kfp.set_state(runs[0], "FAILED")
    kfp.set_log(runs[0], "indexing", "error: the store is [full]\n")
    for name in ("first", runs[0]["run_id"], runs[0]["run_id"].upper()):
        done = on("status", name)
        assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "first: failed"
    steps = [line for line in lines if " done " in line or " failed " in line]
    assert [line.split("  ")[0] for line in steps] == ["data-prep", "indexing"]
    assert lines[-2:] == [
        "indexing: the store is [full]",
        f"next:     sharpen retry {runs[0]['run_id']} --endpoint {kfp.url}",
    ]


@pytest.mark.parametrize("pages", [False, True])
def test_a_page_is_linked_where_it_is(
    kfp: FakeKfp, on: Sharpen, runs: list[Object], monkeypatch: pytest.MonkeyPatch, pages: bool
) -> None:
    """The API itself has no pages, so an address below it would lead nowhere."""
    kfp.pages = pages
    shown = f"/#/runs/details/{runs[0]['run_id']}"
    (page,) = (line for line in on("status", "first").out.splitlines() if line.startswith("page:"))
    assert page == f"page:     {kfp.url}{shown}" if pages else "--ui or KFP_UI_ENDPOINT" in page
    assert f"http://pages/pipeline{shown}" in on("status", "first", "--ui", "http://pages/pipeline").out
    monkeypatch.setenv("KFP_UI_ENDPOINT", "https://kf.example")
    assert f"https://kf.example{shown}" in on("status", "first").out


def test_a_run_without_its_version_is_shown_all_the_same(kfp: FakeKfp, on: Sharpen, runs: list[Object]) -> None:
    kfp.set_tasks(runs[0], task("executor", "RUNNING"), task("evaluation-2", "RUNNING"))
    kfp.state.versions.clear()
    out = on("status", "first").out
    assert "evaluation-2" in out
    assert "driver" not in out
    assert "executor" not in out


@pytest.mark.parametrize("command", ["status", "cancel"])
def test_a_run_that_is_not_there_or_not_one(kfp: FakeKfp, on: Sharpen, runs: list[Object], command: str) -> None:
    twins = on(command, "twin")
    assert twins.code == 2
    assert all(run["run_id"] in twins.err for run in runs[1:])
    assert "gone: no run in the experiment has this id or name" in on(command, "gone").err
    assert "there is no such run" in on(command, "00000000-0000-0000-0000-000000000000").err
    assert not kfp.made("RunService_TerminateRun")


def test_names_with_signs_are_found(kfp: FakeKfp, on: Sharpen) -> None:
    name = "50 % + more: ä/b?"
    assert on("submit", *ON_THE_STORE, "--run-name", name).code == 0
    assert on("status", name).out.startswith(f"{name}: pending\n")


def test_a_run_is_cancelled_once(kfp: FakeKfp, on: Sharpen, runs: list[Object]) -> None:
    kfp.misbehave("RunService_TerminateRun", status=500)
    assert on("cancel", "first").out == "first: is being cancelled\n"
    assert runs[0]["state"] == "CANCELING"
    kfp.set_state(runs[0], "FAILED")
    again = on("cancel", "first")
    assert (again.code, again.out) == (0, "first: had ended already (cancelled)\n")
    assert len(kfp.made("RunService_TerminateRun")) == 2


def test_a_run_that_ends_while_it_is_cancelled_is_no_fault(kfp: FakeKfp, on: Sharpen, runs: list[Object]) -> None:
    looks = []

    def ends(run: Object) -> None:
        looks.append(run["state"])
        if len(looks) == 1:
            return
        run["state"] = "SUCCEEDED"

    kfp.on_get_run = ends
    kfp.misbehave("RunService_TerminateRun", status=400, body=b'{"code": 9, "message": "cannot be terminated"}')
    done = on("cancel", "first")
    assert (done.code, done.out) == (0, "first: had ended already (succeeded)\n")


def test_all_that_go_on_are_cancelled(kfp: FakeKfp, on: Sharpen, runs: list[Object]) -> None:
    kfp.page_size = 1
    runs[1]["state"] = "SUCCEEDED"
    on("submit", *ON_THE_STORE, "--experiment", "other")
    done = on("cancel", "--all")
    assert done.code == 0
    assert [run["state"] for run in runs] == ["CANCELING", "SUCCEEDED", "CANCELING"]
    assert [run["state"] for run in kfp.state.runs.values()][-1] == "PENDING"
    assert on("cancel", "--all").out == "no run of the experiment sharpen is going on\n"
    for arguments in ((), ("first", "--all")):
        assert on("cancel", *arguments).code == 2
