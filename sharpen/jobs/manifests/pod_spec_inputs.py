"""A job's settings, the author's task settings and the launching pod's facts, brought together as what pods need."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpen.errors import InputError
from sharpen.exit_status import VARIABLE as OUTCOME_VARIABLE
from sharpen.jobs.job import Job, job_name
from sharpen.jobs.launch_context import POD_NAME_VARIABLE, LaunchContext
from sharpen.jobs.settings import JobSettings, looks_secret
from sharpen.run_context import JOB_IMAGE_VARIABLE, RUN_ID_VARIABLE, RUN_VARIABLE
from sharpen.store import storage
from sharpen.store.checksums import ETAGS_VARIABLE
from sharpen.store.retry import TIMEOUT_VARIABLE
from sharpen.uri import scheme_of

APP_LABEL = "app.kubernetes.io/name"
RUN_LABEL = "sharpen/run"
TASK_LABEL = "sharpen/task"
JOB_LABEL = "sharpen/job"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"

# A pod that is told to end has so long: for the step under way, its checkpoint and the copy of that.
GRACE_SECONDS = 60
# Where the store is, is no secret; who may use it comes from secrets or the service account.
_STORE_VARIABLES = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    TIMEOUT_VARIABLE,
    ETAGS_VARIABLE,
)
# Facts of the launching pod, which the job's pods must not take for theirs.
_LAUNCHERS_OWN = (
    POD_NAME_VARIABLE,
    "KFP_POD_UID",
    "NAMESPACE",
    RUN_ID_VARIABLE,
    RUN_VARIABLE,
    OUTCOME_VARIABLE,
    JOB_IMAGE_VARIABLE,
)


@dataclass(frozen=True)
class PodSpecInputs:
    """What a job's manifest says, whatever its kind.

    Attributes:
        name: the job's name.
        task: the step.
        around: where it is launched from.
        settings: the job's settings.
        image: image of the pods.
        command: program and arguments.
        processes: processes of each pod.
        env: environment variables of the container, as Kubernetes writes them.
        resources: requests and limits of the container.
        node_selector, tolerations, affinity, volumes, volume_mounts: of the pods.
    """

    name: str
    task: str
    around: LaunchContext
    settings: JobSettings
    image: str
    command: list[str]
    processes: int
    env: list[dict[str, Any]]
    resources: dict[str, dict[str, str]]
    node_selector: dict[str, str]
    tolerations: list[dict[str, Any]]
    affinity: dict[str, Any]
    volumes: list[dict[str, Any]]
    volume_mounts: list[dict[str, Any]]

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the job and of its pods."""
        return {
            APP_LABEL: "sharpen",
            "app.kubernetes.io/component": "training",
            "app.kubernetes.io/managed-by": "sharpen",
            RUN_LABEL: label_value(self.around.run),
            TASK_LABEL: label_value(self.task),
            JOB_LABEL: self.name,
        }


def make_pod_spec_inputs(job: Job, around: LaunchContext) -> PodSpecInputs:
    """Bring everything together; a setting that was given wins over what is set on the task.

    Raises:
        InputError: an argument names a place that only this machine has, or no image is known; a line per fault.
    """
    settings = job.settings
    faults = _local_addresses(job)
    task = {name: floats_to_ints(value) for name, value in job.task_config.items() if value}
    faults += [
        f"{variable['name']}: is set on the task as plain text, which everybody can read; take it from a secret"
        for variable in task.get("env") or []
        if looks_secret(variable["name"]) and variable.get("value")
    ]
    image = settings.image or os.environ.get(JOB_IMAGE_VARIABLE) or around.image
    if not image:
        faults.append("job.image: the image of this step is not known here; name the image that the pods run")
    if faults:
        raise InputError(faults)
    resources = _resources(settings, task.get("resources") or {})
    processes = settings.processes or _gpus(settings, resources) or 1
    cores = _cores((resources.get("requests") or {}).get("cpu", settings.cpu))
    threads = settings.threads or max(1, math.floor(cores) // processes)
    name = job_name(job.task, around.run, job.output)
    return PodSpecInputs(
        name=name,
        task=job.task,
        around=around,
        settings=settings,
        image=image,
        command=["torchrun", f"--nproc-per-node={processes}", "-m", job.module, *job.options],
        processes=processes,
        env=_env(settings, task.get("env") or [], around.run, threads),
        resources=resources,
        node_selector={**task.get("node_selector", {}), **settings.node_selector},
        tolerations=[*task.get("tolerations", []), *(t.model_dump(exclude_none=True) for t in settings.tolerations)],
        affinity=_affinity(task.get("affinity", {}), settings.same_topology, name),
        volumes=task.get("volumes", []),
        volume_mounts=task.get("volume_mounts", []),
    )


def _affinity(task: Mapping[str, Any], same_topology: str, name: str) -> dict[str, Any]:
    """The task's, and that the pods of the job run together."""
    if not same_topology:
        return dict(task)
    among = task.get("podAffinity") or {}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    term = {"labelSelector": {"matchLabels": {JOB_LABEL: name}}, "topologyKey": same_topology}
    return {**task, "podAffinity": {**among, required: [*among.get(required, []), term]}}


def floats_to_ints(value: Any) -> Any:
    """The same value with 300.0 as 300: parameters of a pipeline carry every number as a float, the API takes none."""
    if isinstance(value, Mapping):
        return {name: floats_to_ints(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [floats_to_ints(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def label_value(text: str) -> str:
    """The text as the value of a label: at most 63 letters, digits, '.', '_' and '-'."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text)
    return plain[:63].strip("._-")


def _local_addresses(job: Job) -> list[str]:
    faults = []
    for name in ("data", "negatives", "output", *job.local_models):
        value = job.arguments.get(name, "")
        if not value or storage.is_remote(value) or (name in job.local_models and not _is_path(value)):
            continue
        faults.append(f"{name}: {value} is on this machine only; on a cluster give an s3:// address")
    if not job.output:
        faults.append(f"{job.module}: a job on a cluster needs the address of its output")
    return faults


def _is_path(value: str) -> bool:
    # "BAAI/bge-small" may be a hub's model or a folder; only what looks like a path, or is one here, is refused
    return not scheme_of(value) and (value.startswith((".", "/", "~")) or Path(value).exists())


def _resources(settings: JobSettings, task: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    given = settings.model_fields_set
    requests = {"cpu": settings.cpu, "memory": settings.memory}
    limits = {"memory": settings.memory}
    on_task = {
        part: {name: str(value) for name, value in (task.get(part) or {}).items()} for part in ("requests", "limits")
    }
    for name in ("cpu", "memory"):
        if name not in given and (name in on_task["requests"] or name in on_task["limits"]):
            requests.pop(name, None)
            limits.pop(name, None)
        elif name in given:
            on_task["requests"].pop(name, None)
            on_task["limits"].pop(name, None)
    requests |= on_task["requests"]
    limits |= on_task["limits"]
    devices = dict(settings.extra_resources)
    if settings.gpus_per_node:
        devices[settings.gpu_resource] = str(settings.gpus_per_node)
    # devices cannot be overcommitted: request and limit must be equal
    return {"requests": {**requests, **devices}, "limits": {**limits, **devices}}


def _gpus(settings: JobSettings, resources: Mapping[str, Mapping[str, str]]) -> int:
    limits = resources["limits"]
    named = limits.get(settings.gpu_resource) or next((v for n, v in limits.items() if n.endswith("/gpu")), "0")
    return int(named)


def _cores(quantity: str) -> float:
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def _env(settings: JobSettings, task: list[dict[str, Any]], run: str, threads: int) -> list[dict[str, Any]]:
    found = {variable["name"]: variable for variable in task if variable["name"] not in _LAUNCHERS_OWN}
    plain = {name: os.environ[name] for name in _STORE_VARIABLES if os.environ.get(name) and name not in found}
    plain |= {
        RUN_ID_VARIABLE: run,
        "HOME": "/tmp",  # noqa: S108 - a volume of the pod's own
        "SHARPEN_CACHE": "/tmp/sharpen",  # noqa: S108
        "HF_HOME": "/tmp/huggingface",  # noqa: S108
        "OMP_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # torchrun passes SIGTERM on, and kills the processes that did not end so long after it
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(GRACE_SECONDS - 5),
    }
    if settings.nodes > 1:
        # In torch 2.13 an agent that stays while another is replaced does not tell the new one the address of the store
        # that they share, and both wait for ever; without sharing, each round has a store of its own.
        plain["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    plain |= settings.env
    found |= {name: {"name": name, "value": value} for name, value in plain.items()}
    for name, source in settings.secret_env.items():
        secret, _, key = source.partition("/")
        found[name] = {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
    return list(found.values())
