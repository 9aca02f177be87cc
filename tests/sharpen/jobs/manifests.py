"""Manifests of all kinds of settings, with and without what an author set on the task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sharpen.jobs.job import Job
from sharpen.jobs.launch_context import LaunchContext
from sharpen.jobs.manifests.pod_spec_inputs import make_pod_spec_inputs
from sharpen.jobs.manifests.pytorchjob import pytorchjob
from sharpen.jobs.manifests.trainjob import trainjob
from sharpen.jobs.settings import JobSettings

BUILD = {"pytorchjob": pytorchjob, "trainjob": trainjob}
OWNER = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "sharpen-x1", "uid": "w-1"}
AROUND = LaunchContext("team", "0b2f6f5e-run", "registry.example/sharpen:1", OWNER)

# What a pipeline's author can set on a task, as Kubeflow hands it over: every number is a float.
TASK = {
    "resources": {
        "limits": {"cpu": "4", "memory": "64Gi", "nvidia.com/gpu": "2"},
        "requests": {"cpu": "3500m", "memory": "64Gi"},
    },
    "env": [
        {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "store", "key": "secretkey"}}},
        {"name": "MINE", "value": "1"},
        {"name": "KFP_RUN_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['pipeline/runid']"}}},
    ],
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300.0}],
    "node_selector": {"pool": "gpu", "zone": "a"},
    "affinity": {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1.0, "preference": {"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}}
            ]
        }
    },
    "volumes": [
        {"name": "lustre", "persistentVolumeClaim": {"claimName": "fast"}},
        {"name": "ca", "secret": {"secretName": "ca", "defaultMode": 420.0}},
    ],
    "volume_mounts": [{"name": "lustre", "mountPath": "/lustre"}, {"name": "ca", "mountPath": "/ca", "readOnly": True}],
}
EVERYTHING: dict[str, Any] = {
    "nodes": 4,
    "gpus_per_node": 8,
    "cpu": "64",
    "memory": "512Gi",
    "shm_size": "64Gi",
    "scratch_size": "500Gi",
    "extra_resources": {"rdma/hca": "1"},
    "image": "registry.example/train@sha256:" + "0" * 64,
    "image_pull_secrets": ["registry"],
    "service_account": "training",
    "queue": "research",
    "node_selector": {"zone": "b"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "same_topology": "cloud.provider.com/topology-rack",
    "annotations": {"kueue.x-k8s.io/podset-required-topology": "cloud.provider.com/topology-block"},
    "env": {"NCCL_DEBUG": "INFO", "NCCL_SOCKET_IFNAME": "eth0"},
    "secret_env": {"AWS_ACCESS_KEY_ID": "mlpipeline-minio-artifact/accesskey"},
    "active_deadline_seconds": 7200,
}
# what only a PyTorchJob can say
FOR_PYTORCHJOB: dict[str, Any] = {
    "backoff_limit": 5,
    "ttl_seconds": 600,
    "priority_class": "high",
    "topology_spread": [{"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}],
}
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "one node": {"gpus_per_node": 2},
    "several nodes": {"nodes": 3, "backoff_limit": 0},
    "everything": {**EVERYTHING, **FOR_PYTORCHJOB},
}


def manifest(kind: str, settings: Mapping[str, Any], task: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The manifest of a fine-tuning; a TrainJob's without what it cannot say."""
    values = dict(settings)
    if kind == "trainjob":
        values = {name: value for name, value in values.items() if name not in FOR_PYTORCHJOB}
        values.setdefault("service_account", "training")
    arguments = {"data": "s3://b/data", "model": "BAAI/bge-m3", "output": "s3://b/out", "temperature": "0.02"}
    job = Job("components.finetuning", arguments, JobSettings.checked(values), task or {})
    return BUILD[kind](make_pod_spec_inputs(job, AROUND))


def pod_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """The pod that the operator makes of a manifest."""
    spec = found["spec"]
    if found["kind"] == "PyTorchJob":
        (replicas,) = spec["pytorchReplicaSpecs"].values()
        return replicas["template"]
    (patch,) = spec["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    template = json.loads(json.dumps(job["template"]["spec"]["template"]))
    (container,) = template["spec"]["containers"]
    trainer = spec["trainer"]
    container |= {name: trainer[name] for name in ("image", "command", "args", "env")}
    container["resources"] = trainer["resourcesPerNode"]
    return template


def container_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Its one container."""
    (container,) = pod_of(found)["spec"]["containers"]
    return container
