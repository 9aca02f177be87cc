"""`sharpen retry` against an API that checks every request."""

from __future__ import annotations

import pytest

from pipeline.cluster import waiting
from tests.pipeline.cluster.conftest import ON_THE_STORE, Sharpen, only_line, task
from tests.pipeline.cluster.fake_backend import Object
from tests.pipeline.cluster.fake_kfp import FakeKfp


@pytest.fixture
def failed(kfp: FakeKfp, on: Sharpen) -> Object:
    """A run that has failed."""
    assert on("submit", *ON_THE_STORE, "--run-name", "nightly").code == 0
    (run,) = kfp.state.runs.values()
    kfp.set_tasks(run, task("data-prep", "SUCCEEDED"), task("finetuning", "FAILED"))
    kfp.set_state(run, "FAILED")
    return run


@pytest.mark.parametrize("by", ["display_name", "run_id"])
def test_a_run_that_failed_goes_on(kfp: FakeKfp, on: Sharpen, failed: Object, by: str) -> None:
    done = on("retry", str(failed[by]))
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "nightly: goes on",
        f"next:     sharpen status {failed['run_id']} --endpoint {kfp.url}",
    ]
    assert failed["state"] == "RUNNING"
    (call,) = kfp.made("RunService_RetryRun")
    assert call.path == {"run_id": failed["run_id"]}


def test_a_run_that_was_cancelled_goes_on(kfp: FakeKfp, on: Sharpen, failed: Object) -> None:
    failed["state_history"].insert(-1, {"state": "CANCELING"})
    assert on("status", "nightly").out.startswith("nightly: cancelled\n")
    assert on("retry", "nightly").code == 0
    assert on("status", "nightly").out.startswith("nightly: running\n")


def test_it_is_waited_for_although_it_is_shown_as_failed_for_a_moment(
    kfp: FakeKfp, on: Sharpen, failed: Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter(["FAILED", "FAILED", "FAILED", "RUNNING", "RUNNING", "SUCCEEDED"])

    def look(run: Object) -> None:
        kfp.set_state(run, next(states, "SUCCEEDED"))
        kfp.set_tasks(run, task("finetuning", "RUNNING" if run["state"] == "RUNNING" else run["state"]))

    kfp.on_get_run = look
    done = on("retry", "nightly", "--wait")
    assert done.code == 0, done.err
    assert "finetuning: runs" in done.out and "finetuning: done" in done.out
    # one that stays as it is has failed again
    monkeypatch.setattr(waiting, "RETRY_SECONDS", 0.05)
    kfp.on_get_run = lambda run: kfp.set_state(run, "FAILED")
    assert on("retry", "nightly", "--wait").code == 1


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "SUCCEEDED", "CANCELING"])
def test_only_what_has_failed_can_be_tried_again(kfp: FakeKfp, on: Sharpen, failed: Object, state: str) -> None:
    failed["state"] = state
    done = on("retry", "nightly")
    assert (done.code, done.out) == (2, "")
    assert "only a run that failed or was cancelled can be tried again" in only_line(done.err)
    assert not kfp.made("RunService_RetryRun")


def test_what_is_archived_is_restored_first(kfp: FakeKfp, on: Sharpen, failed: Object) -> None:
    failed["storage_state"] = "ARCHIVED"
    done = on("retry", failed["run_id"])
    assert done.code == 2 and "is archived; restore it" in only_line(done.err)


def test_an_answer_that_is_lost_tries_nothing_twice(kfp: FakeKfp, on: Sharpen, failed: Object) -> None:
    kfp.misbehave("RunService_RetryRun", status=0, done=True)
    assert on("retry", "nightly").code == 0
    assert len(kfp.made("RunService_RetryRun")) == 1
    failed["state"] = "FAILED"
    kfp.misbehave("RunService_RetryRun", status=500)
    done = on("retry", "nightly")
    assert done.code == 1 and "nightly: cannot be tried again now: " in only_line(done.err)
    kfp.misbehave("RunService_RetryRun", status=403, body=b'{"code": 7, "message": "not allowed"}')
    assert on("retry", "nightly").code == 2
    assert "gone: no run in the experiment has this id or name" in on("retry", "gone").err
