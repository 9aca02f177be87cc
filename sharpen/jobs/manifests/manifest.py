"""What the manifests of both kinds share: metadata, and how two specs are told apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from sharpen.jobs.manifests.kinds import Kind
from sharpen.jobs.manifests.pod_spec_inputs import QUEUE_LABEL, PodSpecInputs

HASH_ANNOTATION = "sharpen/spec-hash"


def build_manifest(kind: Kind, plan: PodSpecInputs, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The whole object around a spec. Deleting the run's Workflow deletes the job with it.

    Args:
        kind: of the job.
        plan: what its pods need.
        spec: the kind's own part.
    """
    labels = dict(plan.labels)
    if plan.settings.queue:
        labels[QUEUE_LABEL] = plan.settings.queue
    metadata: dict[str, Any] = {
        "name": plan.name,
        "namespace": plan.around.namespace,
        "labels": labels,
        "annotations": {HASH_ANNOTATION: spec_hash(spec, labels)},
    }
    if plan.around.owner:
        # not the pod: a later attempt of the step must find the job
        metadata["ownerReferences"] = [{**plan.around.owner, "controller": False, "blockOwnerDeletion": False}]
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": dict(spec)}


def spec_hash(spec: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """A hash of what we ask for; what the cluster adds to it later changes nothing."""
    text = json.dumps({"spec": spec, "labels": labels}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(wanted: Any, existing: Any, path: str = "spec") -> Iterator[str]:
    """Where an object in the cluster is not what we ask for, a line each; what the cluster added is no difference.

    Args:
        wanted: what we ask for.
        existing: what is there.
        path: of both in the object.
    """
    if isinstance(wanted, Mapping) and isinstance(existing, Mapping):
        for name, value in wanted.items():
            yield from differences(value, existing.get(name), f"{path}.{name}")
    elif isinstance(wanted, list) and isinstance(existing, list) and len(wanted) == len(existing):
        for number, (one, other) in enumerate(zip(wanted, existing, strict=True)):
            name = one.get("name", number) if isinstance(one, Mapping) else number
            yield from differences(one, other, f"{path}[{name}]")
    elif wanted != existing:
        yield f"{path}: {_short(existing)} there, {_short(wanted)} wanted"


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
