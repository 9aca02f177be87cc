"""The TrainJob of Kubeflow Trainer (trainer.kubeflow.org/v1alpha1, release 2.3).

The pods come from a runtime that the cluster's administrator keeps; a TrainJob patches only what its API allows. What
it does not allow and the user asks for is an error, never left out in silence.
"""

from __future__ import annotations

from typing import Any

from sharpen.errors import InputError
from sharpen.jobs.manifests import pod
from sharpen.jobs.manifests.kinds import TRAINJOB
from sharpen.jobs.manifests.manifest import build_manifest
from sharpen.jobs.manifests.pod_spec_inputs import GRACE_SECONDS, PodSpecInputs
from sharpen.jobs.settings import JobSettings

MANAGER = "sharpen/launcher"
# Settings that release 2.3 has no field for, and where the runtime can say it.
_NOT_SAYABLE = {
    "backoff_limit": "the runtime's failurePolicy decides restarts",
    "ttl_seconds": "the JobSet of the runtime decides how long a finished job stays",
    "topology_spread": "set topologySpreadConstraints in the runtime, or use same_topology",
    "priority_class": "set priorityClassName in the runtime, or use queue with a Kueue priority",
}


def unsupported_by_trainjob(settings: JobSettings) -> list[str]:
    """A line for every setting that was given and that a TrainJob cannot express."""
    faults = [
        f"job.{name}: a TrainJob of Trainer 2.3 cannot say this ({instead}); leave it out or use backend pytorchjob"
        for name, instead in _NOT_SAYABLE.items()
        if name in settings.model_fields_set
    ]
    if not settings.service_account:
        faults.append(
            "job.service_account: a TrainJob cannot keep the API token from its pods; name a service account that has "
            "automountServiceAccountToken: false"
        )
    return faults


def trainjob(plan: PodSpecInputs) -> dict[str, Any]:
    """The manifest.

    Raises:
        InputError: a setting was given that a TrainJob cannot express; one line each.
    """
    settings = plan.settings
    if faults := unsupported_by_trainjob(settings):
        raise InputError(faults)
    node = {
        "name": TRAINJOB.container,
        "volumeMounts": pod.volume_mounts(plan),
        "securityContext": pod.container_security(),
    }
    template = {
        "metadata": {"labels": pod.pod_labels(plan), "annotations": pod.pod_annotations(plan)},
        "spec": {
            "securityContext": pod.pod_security(),
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "containers": [node],
            "volumes": pod.volumes(plan),
            **pod.placement(plan),
        },
    }
    jobs = [{"name": "node", "template": {"spec": {"template": template}}}]
    spec: dict[str, Any] = {
        "runtimeRef": {"apiGroup": TRAINJOB.group, "kind": "ClusterTrainingRuntime", "name": settings.runtime},
        "activeDeadlineSeconds": settings.deadline,
        "trainer": {
            "image": plan.image,
            "command": plan.command[:1],
            "args": plan.command[1:],
            "env": plan.env,
            "numNodes": settings.nodes,
            "numProcPerNode": plan.processes,
            "resourcesPerNode": plan.resources,
        },
        "runtimePatches": [
            {"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": jobs}}}}
        ],
    }
    return build_manifest(TRAINJOB, plan, spec)
