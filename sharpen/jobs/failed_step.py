"""Which step ended a run of Kubeflow Pipelines, and why, as the pods of the run say."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharpen.jobs.kubernetes.client import Cluster
from sharpen.jobs.kubernetes.diagnosis import exit_status_of, failure_summary, pod_problems
from sharpen.jobs.kubernetes.errors import KubernetesError
from sharpen.jobs.launch_context import RUN_LABEL, discover_context, in_pipeline_pod

logger = logging.getLogger(__name__)

# Argo's name of what a pod does: <workflow>.root.<layers>.<step>(<try>).executor, or ....<step>-driver
_NODE = "workflows.argoproj.io/node-name"


@dataclass(frozen=True)
class FailedStep:
    """A step that did not come to its end.

    Attributes:
        step: as the graph names it.
        lines: why, a line each.
        killed: it was ended by a signal from outside, as when the run is cancelled or its node goes.
    """

    step: str
    lines: list[str]
    killed: bool = False


def find_failed_step(cluster: Cluster | None = None) -> FailedStep | None:
    """`failed_step` of this pod's run; None outside a pipeline's pod, and where the pods may not be read.

    Args:
        cluster: the API; by default that of the pod.
    """
    if cluster is None:
        if not in_pipeline_pod():
            return None
        cluster = Cluster(patience=30.0)
    try:
        return failed_step(cluster.pods(f"{RUN_LABEL}={discover_context(cluster).run}"))
    except KubernetesError as error:
        logger.warning(f"which step failed is not known: the run's pods cannot be read ({error})")
        return None


def failed_step(pods: Sequence[Mapping[str, Any]]) -> FailedStep | None:
    """The first of a run's steps whose last try failed, else one that cannot start; None where there is none.

    Args:
        pods: all pods of the run, as the API gives them.
    """
    last_try = {_step(pod): pod for pod in sorted(pods, key=_created)}
    for step, pod in last_try.items():
        if (pod.get("status") or {}).get("phase") == "Failed":
            return _failure(step, pod)
    for step, pod in last_try.items():
        if lines := _problems(pod):
            return FailedStep(step, lines)
    return None


def _failure(step: str, pod: Mapping[str, Any]) -> FailedStep:
    if status := exit_status_of(pod):
        return FailedStep(status.step or step, status.lines)
    summary = failure_summary(pod)
    killed = any(line in ("exit code 143", "exit code 137") for line in summary)
    message = (pod.get("status") or {}).get("message")
    lines = _problems(pod) or ([message] if message else [])
    return FailedStep(step, [*lines, *summary] or ["its pod does not say why"], killed)


def _problems(pod: Mapping[str, Any]) -> list[str]:
    return [problem.line for problem in pod_problems([pod], {}, "pods")]


def _step(pod: Mapping[str, Any]) -> str:
    meta = pod["metadata"]
    node = (meta.get("annotations") or {}).get(_NODE, meta["name"])
    parts = [part.partition("(")[0].removesuffix("-driver") for part in node.split(".")]
    return next((part for part in reversed(parts) if part != "executor"), node)


def _created(pod: Mapping[str, Any]) -> str:
    return pod["metadata"].get("creationTimestamp") or ""
