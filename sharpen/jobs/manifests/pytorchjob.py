"""The PyTorchJob of the Kubeflow training operator (kubeflow.org/v1, release 1.9).

One node is a Master alone; several are Workers alone with an elastic policy, so that they meet by c10d. A Master with
Workers would get an init container from the operator that a namespace with Pod Security "restricted" refuses.
"""

from __future__ import annotations

from typing import Any

from sharpen.jobs.manifests import pod
from sharpen.jobs.manifests.kinds import PYTORCHJOB
from sharpen.jobs.manifests.manifest import build_manifest
from sharpen.jobs.manifests.pod_spec_inputs import GRACE_SECONDS, PodSpecInputs

PORT = 23456
PORT_NAME = "pytorchjob-port"
# How long a pod looks for the first one, whose name is known before it runs; then the container starts again.
CONNECT_SECONDS = 300


def pytorchjob(plan: PodSpecInputs) -> dict[str, Any]:
    """The manifest."""
    settings = plan.settings
    role = "Worker" if settings.nodes > 1 else "Master"
    spec: dict[str, Any] = {
        "nprocPerNode": str(plan.processes),
        "runPolicy": {
            # keeps failed pods, whose output says why
            "cleanPodPolicy": "Running",
            "backoffLimit": settings.backoff_limit,
            "activeDeadlineSeconds": settings.deadline,
            "ttlSecondsAfterFinished": settings.ttl_seconds,
        },
        "pytorchReplicaSpecs": {
            role: {
                "replicas": settings.nodes,
                # The container starts again where it is, with its checkpoints; a lost pod is made anew. ExitCode would
                # fail the job when a worker only lost its rendezvous, which torchrun ends with exit code 1.
                "restartPolicy": "OnFailure" if settings.backoff_limit else "Never",
                "template": _template(plan),
            }
        },
    }
    if settings.nodes > 1:
        spec["elasticPolicy"] = {
            "minReplicas": settings.nodes,
            "maxReplicas": settings.nodes,
            "maxRestarts": settings.backoff_limit,
            "rdzvBackend": "c10d",
            "rdzvId": plan.name,
            "rdzvPort": PORT,
            "rdzvConf": [
                {"key": "join_timeout", "value": str(settings.pending_seconds)},
                {"key": "read_timeout", "value": str(CONNECT_SECONDS)},
            ],
        }
    return build_manifest(PYTORCHJOB, plan, spec)


def _template(plan: PodSpecInputs) -> dict[str, Any]:
    container = {
        "name": PYTORCHJOB.container,
        "image": plan.image,
        "command": plan.command[:1],
        "args": plan.command[1:],
        "env": plan.env,
        "resources": plan.resources,
        "ports": [{"name": PORT_NAME, "containerPort": PORT}],
        "volumeMounts": pod.volume_mounts(plan),
        "securityContext": pod.container_security(),
        # a process that died without a word leaves its last lines there
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod.pod_security(),
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "containers": [container],
        "volumes": pod.volumes(plan),
        **pod.placement(plan),
    }
    if plan.settings.priority_class:
        spec["priorityClassName"] = plan.settings.priority_class
    return {"metadata": {"labels": pod.pod_labels(plan), "annotations": pod.pod_annotations(plan)}, "spec": spec}
