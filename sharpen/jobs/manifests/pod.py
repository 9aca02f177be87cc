"""The parts of a training pod that both kinds of job share, as Pod Security "restricted" wants them.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from typing import Any

from sharpen.jobs.manifests.pod_spec_inputs import JOB_LABEL, PodSpecInputs

SHM, SCRATCH = "sharpen-shm", "sharpen-scratch"


def pod_security() -> dict[str, Any]:
    """The pod's security context. No user id: the image has a numeric one, and OpenShift gives its own."""
    return {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def container_security() -> dict[str, Any]:
    """The container's security context; it writes to its volumes only."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def volumes(plan: PodSpecInputs) -> list[dict[str, Any]]:
    """The author's volumes, /dev/shm and a scratch disk."""
    memory = {"medium": "Memory", "sizeLimit": plan.settings.shm_size}
    return [
        *plan.volumes,
        {"name": SHM, "emptyDir": memory},
        {"name": SCRATCH, "emptyDir": {"sizeLimit": plan.settings.scratch_size}},
    ]


def volume_mounts(plan: PodSpecInputs) -> list[dict[str, Any]]:
    """Where the volumes are seen."""
    ours = [{"name": SHM, "mountPath": "/dev/shm"}, {"name": SCRATCH, "mountPath": "/tmp"}]  # noqa: S108
    return [*plan.volume_mounts, *ours]


def pod_labels(plan: PodSpecInputs) -> dict[str, str]:
    """Labels of the pods. A mesh's sidecar would keep the pod alive after the training, and break its init order."""
    return {**plan.labels, "sidecar.istio.io/inject": "false"}


def pod_annotations(plan: PodSpecInputs) -> dict[str, str]:
    """Annotations of the pods."""
    return {"sidecar.istio.io/inject": "false", **plan.settings.annotations}


def placement(plan: PodSpecInputs) -> dict[str, Any]:
    """Where the pods may run; only what was asked for."""
    asked = {
        "nodeSelector": plan.node_selector,
        "tolerations": plan.tolerations,
        "affinity": plan.affinity,
        "topologySpreadConstraints": [
            {**spread.model_dump(), "labelSelector": {"matchLabels": {JOB_LABEL: plan.name}}}
            for spread in plan.settings.topology_spread
        ],
        "serviceAccountName": plan.settings.service_account,
        "imagePullSecrets": [{"name": name} for name in plan.settings.image_pull_secrets],
    }
    return {name: value for name, value in asked.items() if value}
