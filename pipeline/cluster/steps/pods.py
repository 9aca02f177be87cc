"""What the cluster says of a step's pod, where the caller's kubeconfig may see it: for steps that say nothing."""

from __future__ import annotations

import functools
import logging

from sharpen.errors import InputError
from sharpen.jobs.failed_step import failed_step
from sharpen.jobs.kubernetes import diagnosis
from sharpen.jobs.kubernetes.client import Cluster
from sharpen.jobs.kubernetes.errors import KubernetesError
from sharpen.jobs.launch_context import RUN_LABEL
from sharpen.terminal import one_line

logger = logging.getLogger(__name__)

NODE_ANNOTATION = "workflows.argoproj.io/node-id"
# where Kubeflow that serves one user runs everything
ONE_USER_NAMESPACE = "kubeflow"


def problem(run: str, node: str, namespace: str) -> str:
    """What keeps a step's pod from running, or ended it, in one line; empty where nothing is seen.

    Args:
        run: id of the run.
        node: node id of the step's pod.
        namespace: of the run; empty: that of a Kubeflow for one user.
    """
    cluster = _cluster(namespace or ONE_USER_NAMESPACE) if node else None
    if cluster is None:
        return ""
    try:
        pods = [pod for pod in cluster.pods(f"{RUN_LABEL}={run}") if _is_of(pod, node)]
        if failed := failed_step(pods):
            return one_line("; ".join(failed.lines), 1000)
        # a pod that may not be made is none; its workflow is told
        about = pods[0] if pods else {"metadata": {"name": node.rpartition("-")[0]}}
        problems = list(diagnosis.event_problems(cluster.warnings(), about))
    except KubernetesError as error:
        logger.debug("pods of %s are not seen: %s", run, error)
        return ""
    return one_line(problems[-1].line, 1000) if problems else ""


def _is_of(pod: diagnosis.Object, node: str) -> bool:
    return (pod["metadata"].get("annotations") or {}).get(NODE_ANNOTATION) == node


@functools.cache
def _cluster(namespace: str) -> Cluster | None:
    """The kubeconfig's cluster; None where there is none, or where it does not show pods of the namespace."""
    try:
        cluster = Cluster(namespace, patience=2.0, first_wait=0.5)
        cluster.pods(f"{RUN_LABEL}=none")
    except (InputError, KubernetesError) as error:
        logger.debug("no pods are seen in %s: %s", namespace, error)
        return None
    return cluster
