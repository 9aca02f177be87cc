"""Creating a job once: adoption, conflicts, refusals, cancelling; and the rights that all of it needs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import yaml

from sharpen.errors import InputError, StepFailed
from sharpen.exit_status import to_user_error
from sharpen.jobs import cluster_backend, run_job
from sharpen.jobs.cleanup import delete_unfinished_jobs
from sharpen.jobs.cluster_backend import ClusterBackend
from sharpen.jobs.kubernetes.permissions import LAUNCHER, Permission
from sharpen.store import storage
from tests.sharpen.jobs.fake_api import Call, FakeApi, Fault
from tests.sharpen.jobs.stories import KINDS, QUICK, RUN, Story, a_job, backend, run, told

BOTH = pytest.mark.parametrize("kind", ["pytorchjob", "trainjob"])
ACCOUNT = {"service_account": "training"}


@BOTH
@pytest.mark.store
def test_a_retried_step_adopts_the_job_of_the_first_attempt(s3: str, api: FakeApi, kind: str) -> None:
    output = f"{s3}/adopted/{kind}"
    job = a_job(output, **ACCOUNT)
    first = backend(job, kind)
    first.submit(first.build())
    # The cluster completes and changes what it stores; it is the same job all the same.
    story = Story(api, KINDS[kind])
    api.change(story.kind.group, story.kind.plural, story.name, lambda found: found["spec"].update(suspend=False))

    def act() -> None:
        story.pod()
        story.looked()
        story.succeed(output)

    with told(act):
        run(job, kind)
    # A third attempt finds it done.
    run(job, kind)
    assert len(api.all(story.kind.group, story.kind.plural)) == 1
    # pods belong to the one job only
    assert story.job()["metadata"]["ownerReferences"][0]["name"] == "sharpen-x1"


def test_a_job_with_another_spec_is_left_alone_and_the_difference_told(api: FakeApi) -> None:
    first = backend(a_job(memory="8Gi"))
    first.submit(first.build())
    other = backend(a_job(memory="16Gi", nodes=2, queue="research"))
    with pytest.raises(StepFailed, match="exists already and is another job") as caught:
        other.submit(other.build())
    assert "elasticPolicy" in str(caught.value)
    third = backend(a_job(memory="16Gi", queue="research"))
    with pytest.raises(StepFailed) as caught:
        third.submit(third.build())
    assert 'containers[pytorch].resources.requests.memory: "8Gi" there, "16Gi" wanted' in str(caught.value)
    assert 'labels.kueue.x-k8s.io/queue-name: nothing there, "research" wanted' in str(caught.value)
    # It is another's: what gives up must not delete it.
    third.cancel()
    assert len(api.all("kubeflow.org", "pytorchjobs")) == 1


@pytest.mark.parametrize("finalizers", [False, True])
def test_a_failed_job_is_replaced_once_it_is_gone(api: FakeApi, finalizers: bool) -> None:
    first = backend(a_job())
    first.submit(first.build())
    story = Story(api)
    story.fail()
    uid = story.job()["metadata"]["uid"]
    if finalizers:
        story.job()["metadata"]["finalizers"] = ["foregroundDeletion"]

    def act() -> None:
        if finalizers:
            # the pods are still ending
            api.wait_for(lambda: api.count("create", "pytorchjobs") > 3)
            assert story.job()["metadata"]["uid"] == uid
            api.remove("kubeflow.org", "pytorchjobs", story.name)
        api.wait_for(lambda: api.all("kubeflow.org", "pytorchjobs") and story.job()["metadata"]["uid"] != uid)
        story.fail("failed again")

    with told(act), pytest.raises(StepFailed, match="failed again"):
        run(a_job())
    assert len(api.all("kubeflow.org", "pytorchjobs")) == 1


def test_a_job_that_never_goes_is_told(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_backend, "GONE_SECONDS", 0.2)
    first = backend(a_job())
    first.submit(first.build())
    story = Story(api)
    story.fail()
    story.job()["metadata"]["finalizers"] = ["somebody/else"]
    with pytest.raises(StepFailed, match="does not go; see its finalizers"):
        run(a_job())


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (
            Fault(status=403, reason="Forbidden", message='User "a" cannot create pytorchjobs'),
            "needs the rights in k8s/",
        ),
        (
            Fault(
                status=403, reason="Forbidden", message='pytorchjobs "x" is forbidden: exceeded quota: jobs, used: 8'
            ),
            "cannot be created: the namespace's quota is used up: exceeded quota: jobs, used: 8; ask for less, or wait",
        ),
        (
            Fault(status=422, reason="Invalid", message="spec.x: Required value"),
            "spec.x: Required value .*refuses the man",
        ),
        (Fault(status=400, reason="", message='admission webhook "kueue" denied the request'), "denied the request"),
    ],
)
def test_a_refusal_is_one_line_and_not_repeated(api: FakeApi, fault: Fault, line: str) -> None:
    fault.verb = "create"
    api.faults.append(fault)
    with pytest.raises(StepFailed, match=line) as caught:
        run(a_job())
    assert api.count("create", "pytorchjobs") == 1
    assert ("rights" in str(caught.value)) == (line == "needs the rights in k8s/")


@pytest.mark.parametrize(
    ("there", "faults", "line"),
    [
        (False, [Fault("get", "pods", 9, 401, "Unauthorized", "no")], "own pod .*: no .*token is refused"),
        (False, [Fault("get", "pods", 9, 422, "Invalid", "no")], "this step's own pod cannot be looked at: no"),
        (
            True,
            [Fault("get", "pytorchjobs", 1, 403, "Forbidden", "no get")],
            "cannot be adopted: no get .*needs the ri",
        ),
        (True, [Fault("delete", "pytorchjobs", 1, 403, "Forbidden", "no delete")], "cannot be adopted: no delete"),
    ],
)
def test_whatever_is_refused_ends_in_a_line(api: FakeApi, there: bool, faults: list[Fault], line: str) -> None:
    """The first call of all, and those for a job that is there already."""
    if there:
        first = backend(a_job())
        first.submit(first.build())
        Story(api).fail()
    api.faults += faults
    with pytest.raises(StepFailed, match=line) as caught:
        run(a_job())
    told = to_user_error(caught.value)
    assert told is not None
    assert (told[0], len(told[1]), "\n" in told[1][0]) == (1, 1, False)
    assert len(api.all("kubeflow.org", "pytorchjobs")) == there


def test_a_cluster_without_the_operator_is_told(api: FakeApi) -> None:
    api.known.discard(("kubeflow.org", "pytorchjobs"))
    with pytest.raises(StepFailed, match="does not know this kind; install its operator"):
        run(a_job())


def test_the_pipelines_run_is_known_from_the_own_pod(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = backend(a_job()).build()
    meta = manifest["metadata"]
    assert meta["namespace"] == "team"
    assert meta["labels"]["sharpen/run"] == RUN
    assert meta["ownerReferences"] == [
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "name": "sharpen-x1",
            "uid": "w-1",
            "controller": False,
            "blockOwnerDeletion": False,
        }
    ]
    assert backend(a_job()).build() == manifest
    # another run, and another step of the same run, have other names
    assert backend(a_job("s3://bucket/runs/one/other")).build()["metadata"]["name"] != meta["name"]
    monkeypatch.setenv("KFP_RUN_ID", "another")
    assert backend(a_job()).build()["metadata"]["name"] != meta["name"]


def test_an_own_pod_that_may_not_be_read_leaves_the_job_without_owner(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.forbidden.add(Call("", "pods", "get"))
    with pytest.raises(InputError, match="the image of this step is not known here"):
        backend(a_job()).build()
    monkeypatch.setenv("KFP_RUN_ID", RUN)
    meta = backend(a_job(image="repo/x:1")).build()["metadata"]
    assert "ownerReferences" not in meta
    assert meta["labels"]["sharpen/run"] == RUN


def test_local_addresses_are_refused_before_anything_is_created(api: FakeApi, tmp_path: Path) -> None:
    job = a_job(str(tmp_path / "out"))
    arguments = {**job.arguments, "data": "work/data", "negatives": "/data/negatives", "model": str(tmp_path)}
    with pytest.raises(InputError) as caught:
        run_job(job.module, arguments, job.settings)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["data", "negatives", "output", "model"]
    assert "on a cluster give an s3:// address" in caught.value.faults[0]
    assert api.count("create", "pytorchjobs") == 0


def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ClusterBackend.__init__
    monkeypatch.setattr(ClusterBackend, "__init__", lambda self, job, kind: original(self, job, kind, poll=QUICK))


def test_the_manifest_is_kept_before_the_job_is_created(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_hurry(monkeypatch)
    kept = tmp_path / "manifest.yaml"
    seen: list[bool] = []
    api.on_create = lambda _: seen.append(kept.is_file())
    story = Story(api)
    job = a_job()
    with told(lambda: (story.job(), story.fail())), pytest.raises(StepFailed):
        run_job(job.module, job.arguments, job.settings, manifest=str(kept))
    assert seen == [True]
    found = yaml.safe_load(kept.read_text())
    assert found["spec"] == story.job()["spec"]
    assert found["kind"] == "PyTorchJob"


@pytest.mark.parametrize("when", ["while it is watched", "while it is created"])
def test_sigterm_cancels_the_job(api: FakeApi, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    in_a_hurry(monkeypatch)
    story = Story(api)
    if when == "while it is created":
        # The answer is late; the job is there already.
        api.on_create = lambda _: os.kill(os.getpid(), signal.SIGTERM)

    def act() -> None:
        if when == "while it is watched":
            story.pod()
            story.looked()
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    job = a_job()
    with told(act), pytest.raises(StepFailed, match="SIGTERM"):
        run_job(job.module, job.arguments, job.settings)
    assert signal.getsignal(signal.SIGTERM) is before
    assert api.all("kubeflow.org", "pytorchjobs") == []


def test_sigterm_with_an_api_that_does_not_answer_ends_in_time(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_a_hurry(monkeypatch)
    monkeypatch.setattr(cluster_backend, "CANCEL_SECONDS", 0.3)
    story = Story(api)
    api.faults.append(Fault("delete", "", 1000, 503))

    def act() -> None:
        story.pod()
        story.looked()
        os.kill(os.getpid(), signal.SIGTERM)

    job = a_job()
    with told(act), pytest.raises(StepFailed, match="SIGTERM"):
        run_job(job.module, job.arguments, job.settings)
    assert "delete it by hand" in capsys.readouterr().out


@pytest.mark.store
def test_the_role_is_what_the_code_asks_for(s3: str, api: FakeApi) -> None:
    """Every call of both kinds' lives is in the list that the roles are made from, and nothing else is."""
    for kind in ("pytorchjob", "trainjob"):
        output = f"{s3}/rights/{kind}"
        story = Story(api, KINDS[kind])

        def act(story: Story = story, output: str = output) -> None:
            story.job()
            story.looked()
            story.pod()
            api.write(story.pod_name(), "a line")
            api.wait_for(lambda: api.count("get", "pods/log"))
            story.succeed(output)

        with told(act):
            run(a_job(output, **ACCOUNT), kind)
        unfinished = backend(a_job(f"{output}-2", **ACCOUNT), kind)
        unfinished.submit(unfinished.build())
        assert delete_unfinished_jobs(cluster=unfinished._cluster)
    assert {Permission(*call) for call in api.calls} == LAUNCHER
    assert storage.is_complete(f"{s3}/rights/trainjob")
