"""Watching a job through everything that an API and a cluster do to it. The client is real, and so is HTTP."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sharpen.errors import InputError, StepFailed
from tests.sharpen.jobs.fake_api import Call, FakeApi, Fault
from tests.sharpen.jobs.stories import KINDS, RUN, Story, a_job, outcome, run, told

BOTH = pytest.mark.parametrize("kind", ["pytorchjob", "trainjob"])
ACCOUNT = {"service_account": "training"}
CREATED = Call("kubeflow.org", "pytorchjobs", "create")


@BOTH
@pytest.mark.store
def test_a_job_that_does_its_work(s3: str, api: FakeApi, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    output = f"{s3}/{kind}/model"
    story = Story(api, KINDS[kind])

    def act() -> None:
        for index in (0, 1):
            story.pod(index)
        api.write(story.pod_name(0), "loss 2.0", "loss 1.0")
        api.write(story.pod_name(1), "nobody reads this")
        story.looked()
        api.write(story.pod_name(0), "model written")
        story.succeed(output)

    with told(act):
        run(a_job(output, nodes=2, **ACCOUNT), kind)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "loss" in line or "written" in line] == ["loss 2.0", "loss 1.0", "model written"]
    assert "nobody reads this" not in lines


FAULTS: dict[str, list[Fault]] = {
    "429 with Retry-After": [Fault("get", "pytorchjobs", 1, 429, "TooManyRequests", headers={"Retry-After": "1"})],
    "500": [Fault("", "", 6, 500), Fault("watch", "", 3, 500)],
    "503 and 504": [Fault("list", "pods", 2, 503), Fault("get", "pytorchjobs", 2, 504)],
    "410": [
        Fault("watch", "pytorchjobs", 1, 410, "Expired"),
        Fault("watch", "pytorchjobs", 1, event={"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}),
    ],
    "dropped watch": [Fault("watch", "pytorchjobs", 3, after_lines=0)],
    "cut connections": [Fault("", "", 4, 0)],
    "409 that is only a race": [Fault("create", "pytorchjobs", 2, 409, "Conflict", "please apply your changes")],
    "created, but the answer was lost": [Fault("create", "pytorchjobs", 1, 0, done=True)],
}


@pytest.mark.store
@pytest.mark.parametrize("case", FAULTS)
def test_what_passes_is_survived(s3: str, api: FakeApi, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    output = f"{s3}/faults/{abs(hash(case))}"
    api.faults += [Fault(**vars(fault)) for fault in FAULTS[case]]
    story = Story(api)

    def act() -> None:
        story.pod()
        api.write(story.pod_name(), "one", "two")
        story.looked(5)
        story.succeed(output)

    with told(act):
        run(a_job(output))
    assert [line for line in capsys.readouterr().out.splitlines() if line in ("one", "two")] == ["one", "two"]
    assert len(api.all("kubeflow.org", "pytorchjobs")) == 1
    assert [fault for fault in api.faults if fault.times] == []


@pytest.mark.store
def test_a_token_that_was_rotated_is_read_again(s3: str, api: FakeApi, token_file: Path) -> None:
    story = Story(api)

    def act() -> None:
        story.pod()
        story.looked()
        token_file.write_text("second-token")
        with api.changed:
            api.tokens = {"second-token"}
        story.looked(3)
        story.succeed(f"{s3}/rotated")

    with told(act):
        run(a_job(f"{s3}/rotated"))


def test_a_token_that_stays_refused_fails_soon(api: FakeApi) -> None:
    """Whenever that happens: at the first call, and while the job runs."""
    api.tokens = {"another"}
    with pytest.raises(StepFailed, match=r"own pod cannot be looked at: Unauthorized .*token is refused"):
        run(a_job())
    assert len(api.calls) < 10
    api.tokens = {"first-token"}
    story = Story(api)

    def act() -> None:
        story.pod()
        story.looked()
        with api.changed:
            api.tokens = {"another"}
            api.calls.clear()

    with told(act), pytest.raises(StepFailed, match="cannot be watched and goes on by itself: Unauthorized"):
        run(a_job())
    assert len(api.calls) < 20


def test_after_retry_after_no_call_comes_early(api: FakeApi) -> None:
    api.faults.append(Fault("create", "", 1, 429, "TooManyRequests", headers={"Retry-After": "1"}))
    story = Story(api)

    def act() -> None:
        api.wait_for(lambda: api.count("create", "pytorchjobs") == 2)
        story.fail()

    with told(act), pytest.raises(StepFailed):
        run(a_job())
    asked = [moment for call, moment in zip(api.calls, api.moments, strict=True) if call == CREATED]
    assert asked[1] - asked[0] > 0.9


@pytest.mark.store
def test_every_line_of_output_once_through_broken_streams(
    s3: str, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    """Connections break within lines that carry the same time, and each new one repeats what came before."""
    api.faults += [Fault("get", "pods/log", 1, after_lines=count) for count in (1, 2, 4, 3, 4)]
    api.faults += [Fault("get", "pods/log", 1, 500), Fault("get", "pods/log", 1, 0)]
    story = Story(api)
    lines = ["first", "again", "again", "again", "later", "last"]

    def act() -> None:
        story.pod()
        api.write(story.pod_name(), lines[0], stamp="2026-11-21T08:00:00.1Z")
        api.write(story.pod_name(), *lines[1:4], stamp="2026-11-21T08:00:00.12Z")
        api.write(story.pod_name(), lines[4], stamp="2026-11-21T08:00:00.120000001Z")
        api.wait_for(lambda: api.count("get", "pods/log") > 7)
        api.write(story.pod_name(), lines[5], stamp="2026-11-21T08:00:01Z")
        story.succeed(f"{s3}/lines")

    with told(act):
        run(a_job(f"{s3}/lines"))
    printed = [line for line in capsys.readouterr().out.splitlines() if line in lines]
    assert printed == lines
    # A reconnect asks for what is new and a little more, not for everything.
    assert any("sinceSeconds" in query for path, query in api.requests if path.endswith("/log"))


@BOTH
def test_a_failed_job_fails_the_step_and_shows_every_failed_pod(
    api: FakeApi, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story(api, KINDS[kind])

    def act() -> None:
        for index in (0, 1, 2):
            story.pod(index)
        api.write(story.pod_name(1), "NCCL error: unhandled system error")
        api.write(story.pod_name(2), *(f"line {number}" for number in range(60)))
        story.ended(1, index=1)
        story.ended(1, index=2)
        story.looked()
        # The operator takes the pods away before it says that the job failed.
        for index in (1, 2):
            api.remove("", "pods", story.pod_name(index))
        story.fail("Job has reached the specified backoff limit")

    with told(act), pytest.raises(StepFailed, match="failed: Job has reached the specified backoff limit"):
        run(a_job(nodes=3, **ACCOUNT), kind)
    printed = capsys.readouterr().out
    assert re.search(r"\[.*1.*\] NCCL error: unhandled system error", printed)
    assert "line 59" in printed
    assert "line 9\n" not in printed


@BOTH
@pytest.mark.parametrize("restarted", [True, False])
def test_the_users_fault_travels_back_as_the_users_fault(api: FakeApi, kind: str, restarted: bool) -> None:
    """A pod's termination message carries it, and no restart is waited for."""
    story = Story(api, KINDS[kind])

    def act() -> None:
        story.pod(0)
        story.pod(1)
        story.ended(1, message=outcome(1, "a peer went away"), index=0, restarted=restarted)
        story.ended(
            1, message=outcome(2, "data.jsonl:3: no positive", "b.jsonl:1: no query"), index=1, restarted=restarted
        )

    with told(act), pytest.raises(InputError) as caught:
        run(a_job(nodes=2, **ACCOUNT), kind)
    assert caught.value.faults == ["data.jsonl:3: no positive", "b.jsonl:1: no query"]


def test_a_process_that_died_without_a_word_is_quoted_from_its_message(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its pod's output may not be readable any more; the cluster keeps the end of it as the message."""
    api.faults.append(Fault("get", "pods/log", 100, 500))
    story = Story(api)

    def act() -> None:
        story.pod()
        story.ended(139, message="Fatal Python error: Segmentation fault")
        story.fail()

    with told(act), pytest.raises(StepFailed):
        run(a_job())
    printed = capsys.readouterr().out
    assert "exit code 139" in printed
    assert "Segmentation fault" in printed


@BOTH
@pytest.mark.parametrize("again", [False, True])
def test_a_job_that_is_deleted_under_us_fails_the_step(api: FakeApi, kind: str, again: bool) -> None:
    """Even if somebody makes another of the same name at once."""
    story = Story(api, KINDS[kind])

    def act() -> None:
        story.pod()
        story.looked()
        with api.changed:
            old = story.job()
            api.remove(story.kind.group, story.kind.plural, story.name)
            if again:
                meta = {name: value for name, value in old["metadata"].items() if name != "uid"}
                api.put(story.kind.group, story.kind.plural, {**old, "metadata": meta})

    with told(act), pytest.raises(StepFailed, match="was deleted while it ran"):
        run(a_job(**ACCOUNT), kind)


@BOTH
@pytest.mark.store
@pytest.mark.parametrize(
    ("written_by", "line"),
    [
        (None, "has no _SUCCESS.json: it did not write its output whole"),
        ("another-run", f"was written by run another-run, not {RUN}"),
    ],
)
def test_success_needs_the_output_of_this_run(
    s3: str, api: FakeApi, kind: str, written_by: str | None, line: str
) -> None:
    output = f"{s3}/marker/{kind}/{written_by}"
    story = Story(api, KINDS[kind])

    def act() -> None:
        story.pod()
        story.succeed(output if written_by else "", run=written_by or "")

    with told(act), pytest.raises(StepFailed, match=line):
        run(a_job(output, **ACCOUNT), kind)


def test_a_launcher_that_may_not_read_output_and_events_watches_on(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.forbidden |= {Call("", "pods/log", "get"), Call("", "events", "list")}
    story = Story(api)

    def act() -> None:
        story.job()
        story.looked()
        story.pod()
        story.looked(3)
        story.fail("no luck")

    with told(act), pytest.raises(StepFailed, match="no luck"):
        run(a_job(no_progress_seconds=1))
    assert capsys.readouterr().out.count("output cannot be shown") == 1


@pytest.mark.store
@pytest.mark.parametrize("how", ["evicted", "told to end"])
def test_a_job_that_failed_since_the_cluster_took_its_pods_is_started_again(
    s3: str, api: FakeApi, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = f"{s3}/disrupted/{how.replace(' ', '-')}"
    story = Story(api)

    def act() -> None:
        story.pod()
        first = story.job()["metadata"]["uid"]
        if how == "evicted":
            story.ended(137)
            api.change("", "pods", story.pod_name(), lambda pod: pod["status"].update(reason="Evicted", message="disk"))
        else:
            story.ended(143, message=outcome(143, "training was told to end (SIGTERM) after step 7 of 40"))
        story.looked()
        api.remove("", "pods", story.pod_name())
        story.fail("Job has reached the specified backoff limit")
        api.wait_for(lambda: story.api.all("kubeflow.org", "pytorchjobs") and story.job()["metadata"]["uid"] != first)
        story.pod()
        story.succeed(output)

    with told(act):
        run(a_job(output))
    printed = capsys.readouterr().out
    assert {"evicted": "Evicted: disk", "told to end": "after step 7 of 40"}[how] in printed
    assert "failed since the cluster ended its pods; it is started again" in printed
    assert len(api.all("kubeflow.org", "pytorchjobs")) == 1


@pytest.mark.parametrize(("failures", "limit"), [(1, 3), (0, 0)])
def test_no_job_is_started_again_that_failed_by_itself_or_may_not_be(api: FakeApi, failures: int, limit: int) -> None:
    story = Story(api)

    def act() -> None:
        story.pod(0)
        story.pod(1)
        if failures:
            story.ended(1, index=1)
        story.ended(137, index=0)
        api.change("", "pods", story.pod_name(0), lambda pod: pod["status"].update(reason="Evicted"))
        story.looked()
        story.fail("no luck after all")

    with told(act), pytest.raises(StepFailed, match="failed: no luck after all"):
        run(a_job(nodes=2, backoff_limit=limit))
    assert api.count("create", "pytorchjobs") == 1
