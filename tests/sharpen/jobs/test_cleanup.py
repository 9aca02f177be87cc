"""The end of a run ends its jobs; and jobs in another namespace than the run's."""

from __future__ import annotations

import pytest

from sharpen.errors import InputError, StepFailed
from sharpen.exit_status import ExitStatus
from sharpen.jobs.cleanup import delete_unfinished_jobs
from sharpen.jobs.cluster_backend import ClusterBackend
from sharpen.jobs.job import JobResult
from sharpen.jobs.kubernetes.client import Cluster
from tests.sharpen.jobs.fake_api import Call, FakeApi
from tests.sharpen.jobs.stories import IMAGE, QUICK, RUN, a_job, backend

ACCOUNT = {"service_account": "training"}


def test_the_end_of_a_run_deletes_its_jobs_that_go_on(api: FakeApi) -> None:
    running = backend(a_job())
    running.submit(running.build())
    second = backend(a_job("s3://bucket/runs/one/second", **ACCOUNT), "trainjob")
    second.submit(second.build())
    done = backend(a_job("s3://bucket/runs/one/done"))
    done.submit(done.build())
    done_name = done.build()["metadata"]["name"]
    conditions = {"conditions": [{"type": "Succeeded", "status": "True"}]}
    api.change("kubeflow.org", "pytorchjobs", done_name, lambda job: job.update(status=conditions))
    foreign = {"metadata": {"name": "foreign", "labels": {"sharpen/run": "other"}}, "spec": {}}
    api.put("kubeflow.org", "pytorchjobs", foreign)
    names = {running.build()["metadata"]["name"], second.build()["metadata"]["name"]}
    assert set(delete_unfinished_jobs(cluster=running._cluster)) == names
    assert {job["metadata"]["name"] for job in api.all("kubeflow.org", "pytorchjobs")} == {"foreign", done_name}
    assert delete_unfinished_jobs(cluster=running._cluster) == []


def test_reaping_needs_no_second_kind_and_no_cluster(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.known.discard(("trainer.kubeflow.org", "trainjobs"))
    running = backend(a_job())
    running.submit(running.build())
    assert len(delete_unfinished_jobs(cluster=running._cluster)) == 1
    monkeypatch.delenv("KFP_POD_NAME")
    calls = len(api.calls)
    assert delete_unfinished_jobs() == []
    assert len(api.calls) == calls


def elsewhere() -> ClusterBackend:
    """A job of this run in the namespace gpus."""
    job = a_job(namespace="gpus")
    return ClusterBackend(job, "pytorchjob", cluster=Cluster("gpus", first_wait=0.01), poll=QUICK)


def test_a_job_in_another_namespace_is_known_from_the_own_pod_and_has_no_owner(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    """An owner is looked for in the namespace of what it owns: the cluster would delete the job as an orphan."""
    built = elsewhere().build()
    assert built["metadata"]["namespace"] == "gpus"
    assert built["metadata"]["labels"]["sharpen/run"] == RUN
    assert built["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]["image"] == IMAGE
    assert "ownerReferences" not in built["metadata"]
    assert {path for path, _ in api.requests} == {"/api/v1/namespaces/team/pods/sharpen-x1-impl-1"}
    assert "deleting its run does not delete it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("endpoint", "told_of"),
    [
        ("http://seaweedfs.kubeflow:9000", True),
        ("http://minio-service.kubeflow.svc.cluster.local:9000", True),
        ("http://store.gpus.svc:9000", False),
        ("https://s3.eu-central-1.amazonaws.com", False),
        ("https://example.com", False),
        ("", False),
    ],
)
def test_a_store_that_does_not_let_the_jobs_namespace_in_is_named(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], endpoint: str, told_of: bool
) -> None:
    """Before the start, and at the end of a job whose pods say that they cannot reach it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    label = "kubectl label namespace gpus app.kubernetes.io/part-of=kubeflow-profile"
    job = elsewhere()
    job.build()
    assert (label in capsys.readouterr().out) == told_of
    line = f"s3://bucket/data: cannot reach the object store at {endpoint} (timed out)"
    with pytest.raises(InputError) as caught:
        job.result(JobResult("failed", [], ExitStatus("finetuning", 2, [line])))
    assert caught.value.faults[0] == line
    assert any(label in fault for fault in caught.value.faults[1:]) == told_of
    with pytest.raises(StepFailed) as failed:
        job.result(JobResult("failed", [], ExitStatus("finetuning", 1, ["the loss is not finite"])))
    assert label not in str(failed.value)


def test_in_the_runs_own_namespace_the_store_lets_pods_in(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://seaweedfs.kubeflow:9000")
    assert backend(a_job())._store_hint == ""


def test_the_end_of_a_run_looks_for_jobs_where_the_settings_put_them(api: FakeApi) -> None:
    far, near = elsewhere(), backend(a_job("s3://bucket/runs/one/second"))
    far.submit(far.build())
    near.submit(near.build())
    assert delete_unfinished_jobs() == [near.build()["metadata"]["name"]]
    assert len(api.all("kubeflow.org", "pytorchjobs", "gpus")) == 1
    assert delete_unfinished_jobs("gpus") == [far.build()["metadata"]["name"]]
    assert api.all("kubeflow.org", "pytorchjobs", "gpus") == []
    # told twice where it is
    assert delete_unfinished_jobs("team") == []


def test_jobs_that_may_not_be_looked_at_are_told(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    """The right to one kind is enough; without any it is not known whether jobs go on."""
    api.forbidden.add(Call("trainer.kubeflow.org", "trainjobs", "list"))
    assert delete_unfinished_jobs() == []
    assert "warning" not in capsys.readouterr().out
    api.forbidden.add(Call("kubeflow.org", "pytorchjobs", "list"))
    assert delete_unfinished_jobs() == []
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"warning: trainjobs of run {RUN} in namespace team could not be deleted (403")
