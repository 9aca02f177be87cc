"""Which failures of a step Argo tries again: Kubeflow's own configuration decides, not the pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from pipeline.doctor.finding import CheckContext, Finding
from pipeline.doctor.kubeflow_api import HOME
from sharpen.jobs.kubernetes.errors import KubernetesError

_CONFIG = "workflow-controller-configmap"
_MEANING = {
    "OnError": "a step whose pod was deleted or evicted is tried again ({}); one that ends with a fault ends the run, "
    "and `sharpen retry RUN` goes on from there",
    "OnFailure": "a step that ends with a fault is tried again ({}), wrong input too; one whose pod was deleted is not",
    "OnTransientError": "a step is tried again ({}) only after faults of the network that Argo knows",
    "Always": "every step that fails is tried again ({}), wrong input too",
}


def check(context: CheckContext) -> Iterator[Finding]:
    """The policy in Argo's configuration, and what it means for `pods.retries`."""
    path = f"/api/v1/namespaces/{HOME}/configmaps/{_CONFIG}"
    try:
        found = context.runs.read(path)
    except KubernetesError as error:
        if error.status != 403:
            raise
        yield Finding("retries", "not checked", f"you may not look at ConfigMap {_CONFIG} of namespace {HOME}")
        return
    if found is None:
        yield Finding("retries", "not checked", f"no ConfigMap {_CONFIG} in namespace {HOME}")
        return
    policy = _policy((found.get("data") or {}).get("workflowDefaults") or "")
    times = f"pods.retries={context.settings.pods.retries}"
    meaning = _MEANING.get(policy, "Argo does not know it ({})").format(times)
    yield Finding("retries", "pass" if policy in _MEANING else "warn", f"retryPolicy {policy}: {meaning}")


def _policy(defaults: str) -> str:
    """The retryPolicy that steps get, in Argo's words; OnFailure is its own default."""
    try:
        part: Any = yaml.safe_load(defaults)
    except yaml.YAMLError:
        return "unreadable"
    for name in ("spec", "templateDefaults", "retryStrategy", "retryPolicy"):
        part = part.get(name) if isinstance(part, dict) else None
    return str(part or "OnFailure")
