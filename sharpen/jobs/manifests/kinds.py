"""The two kinds of job that a cluster may know: where they are in the API, and how their objects are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Kind:
    """A kind of job.

    Attributes:
        name: the kind, as manifests name it.
        group, version, plural: its place in the API.
        container: name of the container that trains, which the operator looks for.
        job_label: label by which the operator marks the pods of a job.
        first: labels of the pod that speaks for all.
        succeeded, failed: types of the conditions that end it.
        project: what must be installed.
    """

    name: str
    group: str
    version: str
    plural: str
    container: str
    job_label: str
    first: Mapping[str, str]
    succeeded: str
    failed: str
    project: str

    @property
    def api_version(self) -> str:
        """The manifest's ``apiVersion``."""
        return f"{self.group}/{self.version}"

    def is_first(self, pod: Mapping[str, Any]) -> bool:
        """True for the pod whose output is passed on."""
        labels = pod["metadata"].get("labels") or {}
        return all(labels.get(name) == value for name, value in self.first.items())

    def index_of(self, pod: Mapping[str, Any]) -> str:
        """Number of the pod's machine in the job."""
        label = next(name for name, value in self.first.items() if value == "0")
        return (pod["metadata"].get("labels") or {}).get(label, pod["metadata"]["name"])


# Worker 0, or the only master: the operator gives both index 0. With c10d the first process is on the host whose name
# sorts first, which is worker 0 too.
PYTORCHJOB = Kind(
    name="PyTorchJob",
    group="kubeflow.org",
    version="v1",
    plural="pytorchjobs",
    container="pytorch",
    job_label="training.kubeflow.org/job-name",
    first={"training.kubeflow.org/replica-index": "0"},
    succeeded="Succeeded",
    failed="Failed",
    project="Kubeflow Training Operator 1.9",
)
TRAINJOB = Kind(
    name="TrainJob",
    group="trainer.kubeflow.org",
    version="v1alpha1",
    plural="trainjobs",
    container="node",
    job_label="jobset.sigs.k8s.io/jobset-name",
    first={"jobset.sigs.k8s.io/replicatedjob-name": "node", "batch.kubernetes.io/job-completion-index": "0"},
    succeeded="Complete",
    failed="Failed",
    project="Kubeflow Trainer 2.3",
)
KINDS = (PYTORCHJOB, TRAINJOB)

Phase = Literal["queued", "active", "succeeded", "failed"]


def phase_of(kind: Kind, job: Mapping[str, Any]) -> tuple[Phase, str]:
    """How far a job is, and what its operator says of it.

    Conditions stay when a job goes on, so only those that are true count, and of two ends the later.
    """
    true = [c for c in (job.get("status") or {}).get("conditions") or [] if c.get("status") == "True"]
    ends = [c for c in true if c["type"] in (kind.succeeded, kind.failed)]
    if ends:
        last = max(ends, key=lambda c: c.get("lastTransitionTime") or "")
        return ("succeeded" if last["type"] == kind.succeeded else "failed"), last.get("message") or ""
    spec = job["spec"]
    suspended = spec.get("suspend") or (spec.get("runPolicy") or {}).get("suspend")
    waiting = [c for c in true if c["type"] == "Suspended"]
    if suspended:
        return "queued", waiting[-1].get("message") or "" if waiting else ""
    return "active", true[-1].get("message") or "" if true else ""
