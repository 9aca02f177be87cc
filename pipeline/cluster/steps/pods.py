"""What the cluster says of a step's pod, where the caller's kubeconfig may see it: for steps that say nothing."""

from __future__ import annotations

import functools
import logging

from sharpen.errors import InputError
from sharpen.jobs.kubernetes import diagnosis
from sharpen.jobs.kubernetes.client import Cluster
from sharpen.jobs.kubernetes.errors import KubernetesError
from sharpen.terminal import one_line

logger = logging.getLogger(__name__)

RUN_LABEL = "pipeline/runid"
NODE_ANNOTATION = "workflows.argoproj.io/node-id"
# where Kubeflow that serves one user runs everything
ONE_USER_NAMESPACE = "kubeflow"
# a problem is told as that of a job's pod, which has settings of its own
_SETTINGS = {
    "job.memory, or lower training.activation_gib": "pods.memory",
    "check job.image and job.image_pull_secrets": "check --image, and that the namespace has the registry's secret",
    "job.image is": "--image is",
}


def problem(run: str, node: str, namespace: str) -> str:
    """What keeps a step's pod from running, or ended it, in one line; empty where nothing is seen.

    Args:
        run: id of the run.
        node: node id of the step's pod; empty: of any pod of the run.
        namespace: of the run; empty: that of a Kubeflow for one user.
    """
    cluster = _cluster(namespace or ONE_USER_NAMESPACE)
    if cluster is None:
        return ""
    try:
        found = [pod for pod in cluster.pods(f"{RUN_LABEL}={run}") if _is_of(pod, node)]
        events = cluster.warnings() if found else []
    except KubernetesError as error:
        logger.debug("pods of %s are not seen: %s", run, error)
        return ""
    problems = [*diagnosis.pod_problems(found, {})]
    for pod in found:
        problems += diagnosis.event_problems(events, pod)
    line = problems[-1].line if problems else ""
    for of_job, of_step in _SETTINGS.items():
        line = line.replace(of_job, of_step)
    return one_line(line, 1000)


def _is_of(pod: diagnosis.Object, node: str) -> bool:
    return not node or (pod["metadata"].get("annotations") or {}).get(NODE_ANNOTATION) == node


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
