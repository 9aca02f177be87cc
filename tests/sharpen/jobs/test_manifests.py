"""Every manifest against the published schemas, Pod Security "restricted", and what was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import kubernetes_validate
import pytest

from sharpen.errors import InputError
from sharpen.jobs.job import Job, job_name
from sharpen.jobs.manifests.pod_spec_inputs import make_pod_spec_inputs
from sharpen.jobs.manifests.trainjob import trainjob
from sharpen.jobs.settings import JobSettings
from tests.crd_schema import crd_faults, crd_file
from tests.pod_security import restricted_faults
from tests.sharpen.jobs.manifests import (
    AROUND,
    BUILD,
    EVERYTHING,
    FOR_PYTORCHJOB,
    SETTINGS,
    TASK,
    container_of,
    manifest,
    pod_of,
)

CRD = {"pytorchjob": "pytorchjob-v1.9.4.crd.yaml", "trainjob": "trainjob-v2.3.0.crd.yaml"}
KUBERNETES = ("1.28", "1.37")


def env_of(found: Mapping[str, Any]) -> dict[str, Any]:
    entries = container_of(found)["env"]
    assert len({entry["name"] for entry in entries}) == len(entries)
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in entries}


EVERY = [
    pytest.param(kind, settings, task, id=f"{kind}, {settings}{', with a task' if task else ''}")
    for kind in BUILD
    for settings in SETTINGS
    for task in (None, TASK)
]


@pytest.mark.parametrize(("kind", "settings", "task"), EVERY)
def test_the_published_definition_takes_it_whole(kind: str, settings: str, task: Mapping[str, Any] | None) -> None:
    assert crd_faults(crd_file(CRD[kind]), manifest(kind, SETTINGS[settings], task)) == []


@pytest.mark.parametrize(("kind", "settings", "task"), EVERY)
def test_its_pods_are_valid_and_restricted(kind: str, settings: str, task: Mapping[str, Any] | None) -> None:
    template = pod_of(manifest(kind, SETTINGS[settings], task))
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", **template["metadata"]},
        "spec": template["spec"],
    }
    for version in KUBERNETES:
        kubernetes_validate.validate(pod, version, strict=True)
    assert restricted_faults(template["spec"], template["metadata"]["annotations"]) == []


def test_the_schema_check_finds_what_the_api_would_drop() -> None:
    """Of both definitions: a field that is not there, one of the wrong type, one that is missing, a double."""
    for kind in BUILD:
        definition = crd_file(CRD[kind])
        good = manifest(kind, EVERYTHING)

        def broken(act: Any, good: Any = good, definition: Any = definition) -> list[str]:
            copy = json.loads(json.dumps(good))
            act(copy)
            return crd_faults(definition, copy)

        assert broken(lambda found: found["spec"].update(podSpecOverrides=[]))
        assert broken(lambda found: pod_of_in_place(found)["spec"].update(automountToken=False))
        assert broken(lambda found: pod_of_in_place(found)["spec"].update(terminationGracePeriodSeconds="60"))
        assert broken(lambda found: pod_of_in_place(found)["spec"]["tolerations"][0].update(tolerationSeconds=1.5))
        assert broken(lambda found: pod_of_in_place(found)["spec"]["containers"][0].pop("name"))
        assert broken(lambda found: found["metadata"]["labels"].update({"a b": "c"}))
        assert broken(lambda found: found["metadata"].update(name="x" * 64))
        assert broken(lambda found: found.update(apiVersion="kubeflow.org/v2"))


def pod_of_in_place(found: dict[str, Any]) -> dict[str, Any]:
    if found["kind"] == "PyTorchJob":
        return pod_of(found)
    job = found["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]
    return job["template"]["spec"]["template"]


def test_one_node_is_a_master_alone() -> None:
    found = manifest("pytorchjob", {"gpus_per_node": 2})["spec"]
    assert list(found["pytorchReplicaSpecs"]) == ["Master"]
    assert found["pytorchReplicaSpecs"]["Master"]["replicas"] == 1
    assert "elasticPolicy" not in found
    assert found["nprocPerNode"] == "2"


def test_several_nodes_are_workers_that_meet_by_c10d() -> None:
    """No Master: the operator would give its workers an init container that a restricted namespace refuses."""
    made = manifest("pytorchjob", {"nodes": 3, "processes": 4, "backoff_limit": 7, "pending_seconds": 900})
    found = made["spec"]
    assert list(found["pytorchReplicaSpecs"]) == ["Worker"]
    assert found["pytorchReplicaSpecs"]["Worker"]["replicas"] == 3
    policy = found["elasticPolicy"]
    assert (policy["minReplicas"], policy["maxReplicas"], policy["maxRestarts"]) == (3, 3, 7)
    assert (policy["rdzvBackend"], policy["rdzvId"]) == ("c10d", made["metadata"]["name"])
    assert {"key": "join_timeout", "value": "900"} in policy["rdzvConf"]
    # The operator tells workers without a master no number of processes; a TrainJob's may not be told by variable.
    assert container_of(made)["args"][0] == "--nproc-per-node=4"
    assert container_of(made)["ports"] == [{"name": "pytorchjob-port", "containerPort": policy["rdzvPort"]}]


@pytest.mark.parametrize("kind", BUILD)
def test_the_command_is_that_of_the_step(kind: str) -> None:
    container = container_of(manifest(kind, {}))
    assert container["command"] == ["torchrun"]
    options = ["--data", "s3://b/data", "--model", "BAAI/bge-m3", "--output", "s3://b/out", "--temperature", "0.02"]
    assert container["args"] == ["--nproc-per-node=1", "-m", "components.finetuning", *options]


@pytest.mark.parametrize("kind", BUILD)
def test_the_pods_of_a_job_run_together(kind: str) -> None:
    """In one value of the label, beside what the author set on the task; and every pod has the label looked for."""
    other = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "cache"}}}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    task = {"affinity": {**TASK["affinity"], "podAffinity": {required: [other]}}}
    found = pod_of(manifest(kind, {"nodes": 2, "same_topology": "example.com/rack"}, task))
    assert found["spec"]["affinity"]["nodeAffinity"] == {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "preference": {"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}}
        ]
    }
    first, ours = found["spec"]["affinity"]["podAffinity"][required]
    assert first == other
    assert ours["topologyKey"] == "example.com/rack"
    assert ours["labelSelector"]["matchLabels"].items() <= found["metadata"]["labels"].items()
    assert ours["labelSelector"]["matchLabels"]
    assert "affinity" not in pod_of(manifest(kind, {}))["spec"]


def test_the_pods_of_a_job_are_spread() -> None:
    settings = {"nodes": 2, "topology_spread": [{"topologyKey": "kubernetes.io/hostname", "maxSkew": 2}]}
    found = pod_of(manifest("pytorchjob", settings))
    (spread,) = found["spec"]["topologySpreadConstraints"]
    labels = spread.pop("labelSelector")["matchLabels"]
    assert spread == {"topologyKey": "kubernetes.io/hostname", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}
    assert labels
    assert labels.items() <= found["metadata"]["labels"].items()


@pytest.mark.parametrize("kind", BUILD)
def test_everything_that_is_asked_for_is_there(kind: str) -> None:
    found = manifest(kind, SETTINGS["everything"])
    spec, container = pod_of(found)["spec"], container_of(found)
    assert found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    assert container["resources"]["limits"] == {"memory": "512Gi", "rdma/hca": "1", "nvidia.com/gpu": "8"}
    assert container["resources"]["requests"] == {**container["resources"]["limits"], "cpu": "64"}
    assert container["image"] == EVERYTHING["image"]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["serviceAccountName"] == "training"
    assert spec["nodeSelector"] == {"zone": "b"}
    assert spec["tolerations"] == EVERYTHING["tolerations"]
    volumes = {volume["name"]: volume["emptyDir"] for volume in spec["volumes"]}
    assert volumes["sharpen-shm"] == {"medium": "Memory", "sizeLimit": "64Gi"}
    assert volumes["sharpen-scratch"] == {"sizeLimit": "500Gi"}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {"/dev/shm": "sharpen-shm", "/tmp": "sharpen-scratch"}
    env = env_of(found)
    assert env["NCCL_DEBUG"] == "INFO"
    assert env["AWS_ACCESS_KEY_ID"] == {"secretKeyRef": {"name": "mlpipeline-minio-artifact", "key": "accesskey"}}
    assert env["KFP_RUN_ID"] == "0b2f6f5e-run"
    assert pod_of(found)["metadata"]["annotations"].items() >= EVERYTHING["annotations"].items()
    if kind == "pytorchjob":
        assert spec["automountServiceAccountToken"] is False
        assert spec["priorityClassName"] == "high"
        policy = found["spec"]["runPolicy"]
        assert policy == {
            "cleanPodPolicy": "Running",
            "backoffLimit": 5,
            "activeDeadlineSeconds": 7200,
            "ttlSecondsAfterFinished": 600,
        }
    else:
        assert found["spec"]["activeDeadlineSeconds"] == 7200
        assert found["spec"]["runtimeRef"]["name"] == "torch-distributed"
        assert (found["spec"]["trainer"]["numNodes"], found["spec"]["trainer"]["numProcPerNode"]) == (4, 8)


@pytest.mark.parametrize("kind", BUILD)
def test_what_the_author_set_on_the_task_reaches_the_pods(kind: str) -> None:
    found = manifest(kind, {}, TASK)
    spec, container = pod_of(found)["spec"], container_of(found)
    assert container["resources"] == {
        "requests": {"cpu": "3500m", "memory": "64Gi"},
        "limits": {"cpu": "4", "memory": "64Gi", "nvidia.com/gpu": "2"},
    }
    # one process a GPU, and the cores shared out
    assert container["args"][0] == "--nproc-per-node=2"
    env = env_of(found)
    assert env["OMP_NUM_THREADS"] == "1"
    assert env["AWS_SECRET_ACCESS_KEY"] == {"secretKeyRef": {"name": "store", "key": "secretkey"}}
    assert env["MINE"] == "1"
    # the launching pod's own facts are not the job's
    assert env["KFP_RUN_ID"] == "0b2f6f5e-run"
    assert spec["tolerations"][0]["tolerationSeconds"] == 300
    assert isinstance(spec["tolerations"][0]["tolerationSeconds"], int)
    assert spec["nodeSelector"] == TASK["node_selector"]
    assert spec["affinity"]["nodeAffinity"]
    assert [volume["name"] for volume in spec["volumes"]][:2] == ["lustre", "ca"]
    assert container["volumeMounts"][0] == {"name": "lustre", "mountPath": "/lustre"}


@pytest.mark.parametrize("kind", BUILD)
def test_a_setting_that_was_given_wins_over_the_task(kind: str) -> None:
    given = {"memory": "128Gi", "gpus_per_node": 4, "node_selector": {"zone": "b"}, "env": {"MINE": "2"}}
    found = manifest(kind, given, TASK)
    resources = container_of(found)["resources"]
    assert resources["limits"] == {"cpu": "4", "memory": "128Gi", "nvidia.com/gpu": "4"}
    assert resources["requests"]["memory"] == "128Gi"
    assert resources["requests"]["cpu"] == "3500m"
    assert pod_of(found)["spec"]["nodeSelector"] == {"pool": "gpu", "zone": "b"}
    assert env_of(found)["MINE"] == "2"


@pytest.mark.parametrize("kind", BUILD)
def test_no_secret_is_in_a_manifest(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store is, is taken over from the launching pod; who may use it never."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://seaweedfs.kubeflow:9000")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-key-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-token")
    found = manifest(kind, {})
    assert env_of(found)["AWS_ENDPOINT_URL_S3"] == "http://seaweedfs.kubeflow:9000"
    assert not [word for word in ("the-key-id", "the-secret", "the-token") if word in json.dumps(found)]


def test_a_secret_in_plain_text_on_the_task_is_refused() -> None:
    task = {
        "env": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "abc"}, {"name": "TOKENIZERS_PARALLELISM", "value": "1"}]
    }
    with pytest.raises(InputError) as caught:
        manifest("pytorchjob", {}, task)
    (fault,) = caught.value.faults
    assert fault.startswith("AWS_SECRET_ACCESS_KEY: is set on the task as plain text")
    assert "abc" not in fault


def test_what_a_trainjob_cannot_say_is_told() -> None:
    job = Job("components.finetuning", {"output": "s3://b/o"}, JobSettings.checked(FOR_PYTORCHJOB))
    with pytest.raises(InputError) as caught:
        trainjob(make_pod_spec_inputs(job, AROUND))
    told = [fault.split(":")[0] for fault in caught.value.faults]
    assert told == [
        "job.backoff_limit",
        "job.ttl_seconds",
        "job.topology_spread",
        "job.priority_class",
        "job.service_account",
    ]


def test_threads_share_the_cores_of_a_pod() -> None:
    for settings, threads in (
        ({"cpu": "8", "processes": 2}, "4"),
        ({"cpu": "500m"}, "1"),
        ({"cpu": "7", "gpus_per_node": 4}, "1"),
        ({"threads": 3}, "3"),
    ):
        assert env_of(manifest("pytorchjob", settings))["OMP_NUM_THREADS"] == threads


@pytest.mark.parametrize("kind", BUILD)
def test_a_pod_that_is_told_to_end_has_time_for_a_checkpoint(kind: str) -> None:
    """And torchrun, which passes the signal on, waits for its processes nearly as long."""
    made = manifest(kind, {})
    assert pod_of(made)["spec"]["terminationGracePeriodSeconds"] == 60
    assert 50 <= int(env_of(made)["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]) < 60


def test_names_fit_and_differ() -> None:
    name = job_name("A very long name of a step that nobody should use_", "run", "s3://b/o")
    assert len(f"{name}-worker-511") <= 63
    assert name.replace("-", "").isalnum()
    assert name == name.lower()
    names = {job_name(task, run, out) for task in ("a", "b") for run in ("r", "s") for out in ("o", "p")}
    assert len(names) == 8
