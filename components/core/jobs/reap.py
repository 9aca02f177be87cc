"""The end of a run: none of its jobs may go on.

A run that is terminated keeps its Workflow, so owner references do not delete its jobs, and the launching step may have
had no time to. The run's exit task calls this.
"""

from __future__ import annotations

from components.core.jobs.api_errors import ApiError
from components.core.jobs.cluster_client import Cluster
from components.core.jobs.kinds import KINDS, phase_of
from components.core.jobs.plan import RUN_LABEL, label_value
from components.core.jobs.surroundings import in_pipeline_pod, look_around
from components.core.place import NO_RUN


def reap_jobs(cluster: Cluster | None = None) -> list[str]:
    """Delete the jobs of this run that have not ended; the names of those deleted.

    Outside a pipeline's pod there is nothing to do. What cannot be looked at is told and left.
    """
    if cluster is None:
        if not in_pipeline_pod():
            return []
        cluster = Cluster(patience=120.0)
    deleted = []
    try:
        run = look_around(cluster).run
    except ApiError as error:
        print(f"warning: the run of this pod is not known ({error}); jobs of the run are left", flush=True)
        return []
    if run == NO_RUN:
        print("warning: the run of this pod is not known; jobs of the run are left", flush=True)
        return []
    for kind in KINDS:
        try:
            for job in cluster.list_jobs(kind, f"{RUN_LABEL}={label_value(run)}"):
                name = job["metadata"]["name"]
                if phase_of(kind, job)[0] in ("succeeded", "failed"):
                    continue
                if cluster.delete_job(kind, name, job["metadata"]["uid"]):
                    print(f"job {name}: deleted, its run has ended", flush=True)
                    deleted.append(name)
        except ApiError as error:
            if error.status != 403:
                print(f"warning: {kind.plural} of run {run} could not be deleted ({error})", flush=True)
    return deleted
