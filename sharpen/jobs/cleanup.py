"""The end of a run: none of its jobs may go on.

A run that is terminated keeps its Workflow, so owner references do not delete its jobs, and the launching step may have
had no time to. The run's exit task calls this.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from sharpen.jobs.kubernetes.client import Cluster
from sharpen.jobs.kubernetes.errors import KubernetesError
from sharpen.jobs.launch_context import discover_context, in_pipeline_pod
from sharpen.jobs.manifests.kinds import KINDS, phase_of
from sharpen.jobs.manifests.pod_spec_inputs import RUN_LABEL, label_value
from sharpen.run_context import LOCAL_RUN

logger = logging.getLogger(__name__)


def delete_unfinished_jobs(namespace: str = "", *, cluster: Cluster | None = None) -> list[str]:
    """Delete the jobs of this run that have not ended; the names of those deleted.

    Outside a pipeline's pod there is nothing to do. What cannot be looked at is told and left.

    Args:
        namespace: where jobs may be besides the namespace of this pod (`job.namespace`).
        cluster: the API; by default that of the pod.
    """
    if cluster is None:
        if not in_pipeline_pod():
            return []
        cluster = Cluster(patience=120.0)
    try:
        run = discover_context(cluster).run
    except KubernetesError as error:
        logger.warning(f"the run of this pod is not known ({error}); jobs of the run are left")
        return []
    if run == LOCAL_RUN:
        logger.warning("the run of this pod is not known; jobs of the run are left")
        return []
    places = {cluster.namespace: cluster, **({namespace: cluster.in_namespace(namespace)} if namespace else {})}
    return [name for place in places.values() for name in _delete_jobs(place, run)]


def _delete_jobs(cluster: Cluster, run: str) -> Iterator[str]:
    refused = 0
    for kind in KINDS:
        try:
            for job in cluster.list_jobs(kind, f"{RUN_LABEL}={label_value(run)}"):
                name = job["metadata"]["name"]
                if phase_of(kind, job)[0] in ("succeeded", "failed"):
                    continue
                if cluster.delete_job(kind, name, job["metadata"]["uid"]):
                    logger.info(f"job {name}: deleted, its run has ended")
                    yield name
        except KubernetesError as error:
            # who may launch jobs of one kind need have no right to the other
            refused += error.status == 403
            if error.status != 403 or refused == len(KINDS):
                said = f"{kind.plural} of run {run} in namespace {cluster.namespace} could not be deleted ({error})"
                logger.warning(said)
