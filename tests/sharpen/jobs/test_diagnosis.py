"""What keeps a job from running, in plain words, and how long it may: early where waiting is no use."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from sharpen.errors import StepFailed
from sharpen.jobs.kubernetes import diagnosis, watch
from sharpen.jobs.settings import JobSettings
from tests.sharpen.jobs.fake_api import FakeApi
from tests.sharpen.jobs.stories import IMAGE, Story, a_job, run, told

TROUBLES: dict[str, tuple[Any, str]] = {
    "image name": (lambda story: story.waiting("InvalidImageName"), "job.image is not an image's name"),
    "secret missing": (
        lambda story: story.waiting("CreateContainerConfigError", 'secret "store" not found'),
        'needs is not in the namespace .*secret "store" not found',
    ),
    "program missing": (lambda story: story.waiting("RunContainerError", "no such file"), "program cannot be started"),
    "out of memory": (
        lambda story: (story.pod(), story.ended(137, "OOMKilled", restarted=True)),
        r"ran out of memory \(OOMKilled; its limit is 8Gi\): raise job.memory",
    ),
    "pod security": (
        lambda story: an_event(story, 'pods "p" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot'),
        'Pod Security refuses the pods: violates PodSecurity "restricted:latest"',
    ),
    "admission": (
        lambda story: an_event(story, 'admission webhook "policy.example" denied the request: no team label'),
        "an admission rule refuses it: .*no team label",
    ),
}
CONTAINERD = (
    f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": {IMAGE}: not found',
    f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": failed to do request: '
    f'Head "https://registry.example/v2/": dial tcp: lookup registry.example on 10.96.0.10:53: no such host',
)


def an_event(story: Story, message: str, at: str = "2026-11-21T08:00:05Z", **more: str) -> None:
    about = {"kind": "PyTorchJob", "name": story.name}
    event = {"metadata": {"name": at}, "type": "Warning", "involvedObject": about, "message": message}
    story.api.put("", "events", {**event, "lastTimestamp": at, **more})


@pytest.mark.parametrize("case", TROUBLES)
def test_what_waiting_does_not_mend_ends_the_job_at_once(api: FakeApi, case: str) -> None:
    act, line = TROUBLES[case]
    story = Story(api)

    def play() -> None:
        story.job()
        act(story)

    with told(play), pytest.raises(StepFailed, match=line) as caught:
        run(a_job())
    assert "was given up" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert api.all("kubeflow.org", "pytorchjobs") == []


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (f"rpc error: code = NotFound desc = {CONTAINERD[0]}", "not found"),
        (CONTAINERD[1], "dial tcp: lookup registry.example on 10.96.0.10:53: no such host"),
        ('failed to pull "x": manifest unknown: not found', "manifest unknown: not found"),
    ],
)
def test_an_image_that_is_not_there_is_told_once_and_given_up_after_a_minute(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], message: str, cause: str
) -> None:
    """Of several pods as one, without the layers that kubelet and containerd wrap around the cause."""
    assert diagnosis.NOT_FOUND_PATIENCE == 60 < diagnosis.PULL_PATIENCE
    story = Story(api)

    def act() -> None:
        for index in (0, 1):
            story.waiting("ErrImagePull", message, index)
        story.looked(2)
        # kubelet's next words for the same: old ones without the cause, new ones around it
        story.waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}"')
        story.looked(2)
        story.waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}": ErrImagePull: {message}')
        story.looked(2)
        monkeypatch.setattr(diagnosis, "NOT_FOUND_PATIENCE", 0.1)

    line = f"pod {{}} (and 1 more) cannot pull its image {IMAGE}: {cause}; check job.image and job.image_pull_secrets"
    with told(act), pytest.raises(StepFailed) as caught:
        run(a_job(nodes=2))
    line = line.format(story_pod(api))
    assert str(caught.value).endswith(f" was given up: {line}")
    assert [printed for printed in capsys.readouterr().out.splitlines() if "image" in printed] == [f"note: {line}"]


def test_notes_come_again_only_when_they_change(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    story = Story(api)

    def no_node(message: str) -> None:
        why = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        story.pod(0, "Pending", conditions=[why])
        story.looked(3)

    def act() -> None:
        for message in ("3 Insufficient cpu", "3 Insufficient cpu", "4 Insufficient cpu", "3 Insufficient cpu"):
            no_node(message)
        story.fail("no luck after all")

    with told(act), pytest.raises(StepFailed, match="no luck after all"):
        run(a_job())
    notes = [line[-18:] for line in capsys.readouterr().out.splitlines() if "finds no node" in line]
    assert notes == ["3 Insufficient cpu", "4 Insufficient cpu", "3 Insufficient cpu"]


def test_a_job_that_its_operator_gave_up_says_that_memory_was_the_cause(api: FakeApi) -> None:
    """Both at one look: without restarts the operator is as quick as the launcher."""
    story = Story(api)

    def act() -> None:
        story.pod()
        with api.changed:
            story.ended(137, "OOMKilled")
            story.fail("Job has reached the specified backoff limit")

    with (
        told(act),
        pytest.raises(StepFailed, match=r"failed: pod .* ran out of memory \(OOMKilled; its limit is 8Gi\)"),
    ):
        run(a_job(backoff_limit=0))


def test_what_may_pass_is_told_and_waited_for(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    """Quota, mounts, and events about an earlier job of the same name."""
    story = Story(api)

    def act() -> None:
        story.job()
        an_event(story, 'violates PodSecurity "restricted"', at="2026-11-21T07:59:59Z")
        an_event(story, 'pods "p" is forbidden: exceeded quota: gpus, requested: 8, used: 8, limited: 8')
        an_event(story, 'secret "ca" not found', at="2026-11-21T08:00:06Z", reason="FailedMount")
        story.looked()
        story.pod()
        story.looked()
        story.fail("no luck after all")

    with told(act), pytest.raises(StepFailed, match="no luck after all"):
        run(a_job())
    printed = capsys.readouterr().out
    assert printed.count("quota is used up: exceeded quota: gpus, requested: 8") == 1
    assert 'does not start: secret "ca" not found' in printed
    assert "PodSecurity" not in printed


def test_a_registrys_bad_moment_passes(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(api)

    def act() -> None:
        story.waiting("ImagePullBackOff", "connection reset by peer")
        story.looked(3)
        monkeypatch.setattr(diagnosis, "PULL_PATIENCE", 0.1)

    with told(act), pytest.raises(StepFailed, match="connection reset by peer"):
        run(a_job())


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"queued_seconds": 1}, r"waited in the queue for 0:01 \(job.queued_seconds\)"),
        ({"pending_seconds": 1}, r"did not all start within 0:01 \(job.pending_seconds\).*finds no node: 0/3 nodes"),
        ({"running_seconds": 1}, r"ran for 0:01 \(job.running_seconds\)"),
        ({"no_progress_seconds": 1}, r"output stopped 0:01 ago \(job.no_progress_seconds\)"),
    ],
)
def test_each_budget_ends_the_job(
    api: FakeApi, settings: dict[str, int], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story(api)
    (which,) = settings

    def act() -> None:
        story.job()
        if which == "queued_seconds":
            api.change(
                "kubeflow.org", "pytorchjobs", story.name, lambda job: job["spec"]["runPolicy"].update(suspend=True)
            )
        elif which == "pending_seconds":
            story.pod(0)
            why = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: no GPU"}
            story.pod(1, "Pending", conditions=[why])
        else:
            story.pod(0)
            story.pod(1)
            api.write(story.pod_name(0), "step 1")
            if which == "running_seconds":
                for _ in range(100):
                    api.write(story.pod_name(0), "still going")

    with told(act), pytest.raises(StepFailed, match=line):
        run(a_job("s3://bucket/out", nodes=2, **settings))
    assert api.all("kubeflow.org", "pytorchjobs") == []
    if which == "no_progress_seconds":
        # what every pod said last, since one of them may know why
        assert f"[{story_pod(api)}] step 1" in capsys.readouterr().out


def test_what_a_job_waits_after_it_ran_is_no_running(api: FakeApi) -> None:
    """A queue takes the machines of a job for another one, and gives them back."""
    story = Story(api)

    def suspended(value: bool) -> None:
        api.change(
            "kubeflow.org", "pytorchjobs", story.name, lambda job: job["spec"]["runPolicy"].update(suspend=value)
        )

    def act() -> None:
        name = story.pod()
        story.looked()
        suspended(True)
        api.remove("", "pods", name)
        time.sleep(4.5)
        suspended(False)
        story.pod()
        story.looked(3)
        story.fail("no luck after all")

    with told(act), pytest.raises(StepFailed, match="no luck after all"):
        run(a_job(running_seconds=4, queued_seconds=60))


def test_running_adds_up_and_waiting_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: now))
    budgets = watch.Budgets(JobSettings(queued_seconds=100, pending_seconds=50, running_seconds=60))

    def after(seconds: float, state: str) -> str | None:
        nonlocal now
        now += seconds
        return budgets.spent(state, None)

    assert after(0, "queued") is None
    assert after(99, "pending") is None
    assert after(49, "running") is None
    assert after(30, "running") is None
    # preempted: two waits, neither too long by itself
    assert after(10, "queued") is None
    assert after(99, "pending") is None
    assert after(49, "running") is None
    assert after(20, "running") is None
    assert after(1, "running") == "it ran for 1:01 (job.running_seconds)"
    assert after(0, "queued") == "it ran for 1:01 (job.running_seconds)"
    again = watch.Budgets(JobSettings(queued_seconds=100, pending_seconds=50, running_seconds=60))
    assert again.spent("pending", None) is None
    now += 51
    assert again.spent("pending", None) == "its pods did not all start within 0:51 (job.pending_seconds)"


def test_the_cluster_ends_no_job_before_its_budgets_do() -> None:
    """Every start may wait for pods as long as the first."""
    settings = JobSettings(pending_seconds=50, running_seconds=60, backoff_limit=3)
    assert settings.deadline == 4 * 50 + 60
    assert JobSettings(active_deadline_seconds=7).deadline == 7


def story_pod(api: FakeApi) -> str:
    return next(p["metadata"]["name"] for p in api.all("", "pods") if p["metadata"]["name"].endswith("worker-0"))
