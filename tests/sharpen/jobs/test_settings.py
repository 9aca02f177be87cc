"""Settings of jobs: what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from sharpen.errors import InputError
from sharpen.jobs import JobSettings, check_job, run_job
from sharpen.jobs.cluster_backend import ClusterBackend
from sharpen.jobs.job import Job
from sharpen.jobs.local_backend import LocalBackend
from sharpen.jobs.run import backend_for
from tests.sharpen.jobs.fake_api import FakeApi


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"nodes": 0}, "job.nodes: Input should be greater than or equal to 1"),
        ({"memory": "8 GB"}, "job.memory: String should match pattern"),
        ({"cpu": "-1"}, "job.cpu"),
        ({"backend": "mpi"}, "job.backend"),
        ({"backend": "local", "nodes": 2}, "2 machines need a cluster"),
        ({"env": {"AWS_SECRET_ACCESS_KEY": "abc"}}, "looks like a secret; name its secret and key in secret_env"),
        ({"env": {"HF_TOKEN": "abc"}}, "looks like a secret"),
        ({"env": {"MASTER_ADDR": "a"}}, "is set by the job itself"),
        ({"env": {"1A": "a"}}, "job.env.1A"),
        ({"env": {"A": "1"}, "secret_env": {"A": "s/k"}}, "env and secret_env both set A"),
        ({"secret_env": {"A": "just-a-secret"}}, "job.secret_env.A"),
        ({"tolerations": [{"operator": "Equal", "value": "x"}]}, "without key needs operator Exists"),
        ({"tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]}, "operator Exists has no value"),
        ({"tolerations": [{"key": "a", "value": "b", "tolerationSeconds": 3}]}, "needs effect NoExecute"),
        ({"tolerations": [{"keey": "a"}]}, "job.tolerations.0.keey: unknown setting"),
        ({"node_selector": {"a b": "c"}}, "job.node_selector"),
        ({"node_selector": {"a": "c d"}}, "job.node_selector.a"),
        ({"topology_spread": [{"maxSkew": 2}]}, "job.topology_spread.0.topologyKey: Field required"),
        ({"same_topology": "a b"}, "job.same_topology"),
        ({"namespace": "Team"}, "job.namespace"),
        ({"image": "a b"}, "job.image"),
        ({"pending_seconds": 0}, "job.pending_seconds"),
    ],
)
def test_what_is_refused_is_one_line(values: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        JobSettings.checked(values, where="job.")
    assert len(caught.value.faults) == 1
    assert told in caught.value.faults[0]
    # a secret that was put in the wrong place is not repeated
    assert "abc" not in caught.value.faults[0]


def test_what_runs_a_job_by_itself(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("components.finetuning", {}, JobSettings())  # type: ignore[call-arg]
    assert isinstance(backend_for(job), ClusterBackend)
    monkeypatch.delenv("KFP_POD_NAME")
    assert isinstance(backend_for(job), LocalBackend)


def test_no_cluster_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"job.backend: no cluster to run on .*use backend local"):
        run_job("m", {"output": "s3://b/o"}, JobSettings.checked({"backend": "pytorchjob"}))


def test_what_cannot_run_here_is_told_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="2 machines need a cluster"):
        check_job(JobSettings.checked({"nodes": 2}))
    with pytest.raises(InputError, match="ttl_seconds: a TrainJob"):
        check_job(JobSettings.checked({"backend": "trainjob", "service_account": "a", "ttl_seconds": 5}))
    monkeypatch.setenv("KFP_POD_NAME", "p")
    check_job(JobSettings.checked({"nodes": 2}))


def test_settings_of_pods_are_told_to_mean_nothing_here(capsys: pytest.CaptureFixture[str]) -> None:
    LocalBackend(Job("m", {}, JobSettings.checked({"memory": "1Gi", "processes": 1, "queue": "q"}))).build()
    assert capsys.readouterr().out == "note: of no effect on this machine: job.memory, job.queue\n"


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "NCCL_DEBUG", "KEYBOARD", "HF_HUB_OFFLINE"])
def test_what_is_no_secret_may_be_set(name: str) -> None:
    assert JobSettings.checked({"env": {name: "1"}}).env == {name: "1"}


def test_training_in_the_launching_pod_does_not_lose_what_is_set_on_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_POD_NAME", "p")
    with pytest.raises(InputError, match="which resources of the task are not applied to"):
        run_job("m", {}, JobSettings.checked({"backend": "local"}), task_config={"resources": {"limits": {"a": "1"}}})
