"""What each step needs: cache, retries, time, processors, memory; the one table of it, with the reasons.

Retries. Kubeflow's controller starts a step again whose pod was deleted, evicted or lost with its node, and never one
that ended with an exit code (its workflow-controller-configmap sets retryPolicy OnError, and the pipeline's format has
no field for another). So a store or an API that does not answer is waited for inside the step. The pause before a retry
is spent after every failure, tried again or not: it is a second, since a pod that is gone needs no pause. Every step
may be done twice: outputs are complete or not there, a training job that runs already is adopted, the registry is
changed by conditional writes.

Time is that of one try, its wait for a node included. It ends what hangs; what is only slow must never meet it.

Processors are requested and not limited: a step that finds idle cores may use them, and a limit only slows it down.
Memory is requested as high as it is limited: a step that is killed for what its node had promised to others has
lost hours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.settings import PodSettings
from sharpen.jobs.settings import JobSettings

_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True)
class ResourceRequest:
    """What a step needs.

    Attributes:
        cached: whether an earlier result may stand for the step's.
        retries: how often it is started again after its pod was lost.
        seconds: longest time of one try; 0: no limit.
        cpu, memory: of its pod; empty: none is named.
        threads: how many compute; 0: as the libraries like.
        gpus: of its pod.
        shm: memory of its pod that processes share; empty: what the container runtime gives.
    """

    cached: bool
    retries: int
    seconds: int
    cpu: str
    memory: str
    threads: int = 0
    gpus: int = 0
    shm: str = ""


# Python, boto3 and pydantic take 100 MB. Half a core, since a pod's start is mostly imports.
_CPU, _MEMORY = "500m", "512Mi"


def resource_requests(pods: PodSettings, job: JobSettings) -> dict[str, ResourceRequest]:
    """Component's name -> its needs."""
    retries = pods.retries
    computing = ResourceRequest(
        # the content fingerprint and the step's own settings are inputs, so a hit is always right
        cached=True,
        retries=retries,
        seconds=pods.timeout_seconds,
        cpu=pods.cpu,
        memory=pods.memory,
        # without a limit on processors, libraries would start a thread for every core of the node
        threads=whole_cores(pods.cpu),
        gpus=pods.gpus,
    )
    return {
        # looks at what others may have changed: the registry, local files, the listing of remote ones
        "plan": ResourceRequest(cached=False, retries=retries, seconds=6 * _HOUR, cpu=_CPU, memory="1Gi"),
        # passages and their vectors; the language model is elsewhere, or computes on the processors
        "query-generation": computing,
        # the whole data set in memory, in Python's objects; nothing of it uses a GPU or more than a core or two
        "data-prep": replace(computing, gpus=0),
        # passages, and the vectors of the corpus
        "hard-negatives": computing,
        # models as large as the cluster has, or requests to one elsewhere
        "teachers": computing,
        "merging": computing,
        "evaluation-before": computing,
        "evaluation": computing,
        "indexing": computing,
        "pretraining": _training(retries, job),
        "finetuning": _training(retries, job),
        # A decision is made anew in every run. Copies the model through its disk, in pieces through its memory
        "promotion": ResourceRequest(cached=False, retries=retries, seconds=2 * _HOUR, cpu="500m", memory="1Gi"),
        # of the pipeline that a person starts
        "decide-approval": ResourceRequest(
            cached=False, retries=retries, seconds=15 * _MINUTE, cpu=_CPU, memory=_MEMORY
        ),
        # must say how the run ended and delete its jobs, also while the API recovers
        "finish": ResourceRequest(cached=False, retries=retries, seconds=15 * _MINUTE, cpu=_CPU, memory=_MEMORY),
    }


def _training(retries: int, job: JobSettings) -> ResourceRequest:
    """Its budgets (queued, pending, running, no progress) end it, and say which was spent.

    Where it launches a job and waits, what is set on the task is handed on to the job's pods (`dsl.TaskConfig`). They
    have settings of their own (`job.`), so nothing is set: the waiting pod gets the namespace's defaults. A retry
    adopts the job of the try before.
    """
    if job.backend != "local":
        return ResourceRequest(cached=True, retries=retries, seconds=0, cpu="", memory="")
    return ResourceRequest(
        cached=True,
        retries=retries,
        seconds=0,
        cpu=job.cpu,
        memory=job.memory,
        threads=whole_cores(job.cpu),
        gpus=job.gpus_per_node,
        shm=job.shm_size,
    )


def whole_cores(cpu: str) -> int:
    """Cores of a quantity as whole threads, at least one."""
    return max(1, int(float(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu)))
