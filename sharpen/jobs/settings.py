"""How the processes of a job are started, here or on a cluster.

On a cluster what the pipeline's author set on the task (resources, tolerations, node selector, affinity, environment,
volumes) is used too; a setting that is given here wins.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from sharpen.settings import SettingsModel

_DAY = 86_400
_MONTH = 31 * _DAY

# Kubernetes' own rules: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_DNS_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*"
_PREFIXED = rf"({_DNS_NAME}/)?{_LABEL}"
_QUANTITY = r"[0-9]{1,12}(\.[0-9]{1,6})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?"

Quantity = Annotated[str, StringConstraints(pattern=rf"^{_QUANTITY}$")]
LabelValue = Annotated[str, StringConstraints(pattern=rf"^({_LABEL})?$")]
PrefixedName = Annotated[str, StringConstraints(pattern=rf"^{_PREFIXED}$", max_length=317)]
ObjectName = Annotated[str, StringConstraints(pattern=rf"^{_DNS_NAME}$", max_length=253)]
OptionalName = Annotated[str, StringConstraints(pattern=rf"^({_DNS_NAME})?$", max_length=253)]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=253)]
SecretKey = Annotated[str, StringConstraints(pattern=rf"^{_DNS_NAME}/[A-Za-z0-9._-]{{1,253}}$")]

_SECRET_NAME = re.compile(
    r"(^|_)(SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIALS?|ACCESS_KEY|API_?KEY|PRIVATE_KEY)(_|$)", re.IGNORECASE
)
# What torchrun and the operators set themselves; a value given here would split the processes.
_DECIDED_VARIABLES = re.compile(r"^(PET_.*|MASTER_ADDR|MASTER_PORT|WORLD_SIZE|RANK|LOCAL_RANK|KFP_.*|SHARPEN_RUN)$")


def looks_secret(name: str) -> bool:
    """True for the name of an environment variable that commonly holds a secret."""
    return bool(_SECRET_NAME.search(name))


class Toleration(SettingsModel):
    """A taint of nodes that the pods of a job may run on; Kubernetes' own fields."""

    key: PrefixedName | None = Field(None, description="Key of the taint; unset: every taint, with operator Exists.")
    operator: Literal["Exists", "Equal"] = Field("Equal", description="Exists: any value; Equal: this value.")
    value: LabelValue | None = Field(None, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint; unset: all effects."
    )
    tolerationSeconds: int | None = Field(
        None, ge=0, le=_MONTH, description="How long a NoExecute taint is tolerated; unset: for ever."
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.key is None and self.operator != "Exists":
            raise ValueError("a toleration without key needs operator Exists")
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("a toleration with operator Exists has no value")
        if self.tolerationSeconds is not None and self.effect != "NoExecute":
            raise ValueError("tolerationSeconds needs effect NoExecute")
        return self


class TopologySpread(SettingsModel):
    """How evenly the pods of a job are spread over the values of a label of nodes; Kubernetes' own fields.

    https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
    """

    topologyKey: PrefixedName = Field(description="Label of nodes, such as kubernetes.io/hostname.")
    maxSkew: int = Field(1, ge=1, le=512, description="How many pods more one value may have than another.")
    whenUnsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = Field(
        "DoNotSchedule", description="DoNotSchedule: pods wait for such nodes; ScheduleAnyway: only preferred."
    )


# What the step's own pod gets where its job runs in it: a local job on a cluster.
OF_ONE_POD = frozenset({"cpu", "memory", "gpus_per_node", "gpu_resource", "shm_size"})


class JobSettings(SettingsModel):
    """Processes of a job, and the pods that they run in on a cluster."""

    backend: Literal["auto", "local", "pytorchjob", "trainjob"] = Field(
        "auto",
        description="What starts the processes. auto: pytorchjob in a pod of a pipeline, local elsewhere; trainjob: "
        "Kubeflow Trainer v2. local on a cluster: in the step's own pod, which is given job.cpu, job.memory, "
        "job.gpus_per_node and job.shm_size when the pipeline is compiled.",
    )
    processes: int = Field(0, ge=0, le=1024, description="Processes on each machine. 0: one a GPU, else one.")
    threads: int = Field(0, ge=0, le=1024, description="Threads of each process. 0: cores divided by processes.")

    # what a cluster gives
    nodes: int = Field(1, ge=1, le=512, description="Machines (pods) of the job; more than one needs a cluster.")
    gpus_per_node: int = Field(0, ge=0, le=64, description="GPUs of each pod.")
    gpu_resource: PrefixedName = Field("nvidia.com/gpu", description="The cluster's name for a GPU.")
    cpu: Quantity = Field("2", description="Cores that each pod requests.")
    memory: Quantity = Field("8Gi", description="Memory of each pod, requested and at most.")
    shm_size: Quantity = Field(
        "2Gi", description="Size of /dev/shm, which GPUs of a machine exchange data through; counts as memory."
    )
    scratch_size: Quantity = Field("50Gi", description="Disk of each pod for models, data and checkpoints.")
    extra_resources: dict[PrefixedName, Quantity] = Field(
        {}, max_length=16, description="Further resources of each pod, such as rdma/hca: 1."
    )
    image: str = Field(
        "",
        max_length=1024,
        pattern=r"^\S*$",
        description="Image of the pods; empty: the one that `sharpen compile --image` named, else the step's own.",
    )
    image_pull_secrets: list[ObjectName] = Field(
        [], max_length=8, description="Names of the secrets that the image is pulled with."
    )
    namespace: OptionalName = Field("", description="Namespace of the job; empty: that of the pipeline's step.")
    service_account: OptionalName = Field(
        "",
        description="Service account of the pods, for the cloud's identity; they get no token for the cluster's API.",
    )
    runtime: ObjectName = Field("torch-distributed", description="ClusterTrainingRuntime that a trainjob refers to.")

    # where it may run
    queue: OptionalName = Field("", description="Kueue LocalQueue that the job waits in; empty: none.")
    priority_class: OptionalName = Field("", description="PriorityClass of the pods; empty: the cluster's default.")
    node_selector: dict[PrefixedName, LabelValue] = Field(
        {}, max_length=32, description="Labels that nodes must have to run the pods."
    )
    tolerations: list[Toleration] = Field([], max_length=32, description="Taints of nodes that the pods tolerate.")
    same_topology: Annotated[str, StringConstraints(pattern=rf"^({_PREFIXED})?$", max_length=317)] = Field(
        "",
        description="Label of nodes that all pods of a job share the value of, such as that of a rack or an NVLink "
        "domain; empty: none.",
    )
    topology_spread: list[TopologySpread] = Field(
        [], max_length=8, description="How the pods of a job are spread over nodes; not for a trainjob."
    )
    annotations: dict[PrefixedName, str] = Field(
        {}, max_length=32, description="Annotations of the pods, such as Kueue's topology or an RDMA network."
    )

    # what the processes see
    env: dict[VariableName, str] = Field(
        {}, max_length=64, description="Environment variables of the pods, such as NCCL_DEBUG; no secrets."
    )
    secret_env: dict[VariableName, SecretKey] = Field(
        {}, max_length=32, description="Environment variables that come from secrets, as NAME: secret/key."
    )

    # when it is given up
    backoff_limit: int = Field(3, ge=0, le=100, description="Restarts after failures before the job fails.")
    queued_seconds: int = Field(_DAY, ge=1, le=_MONTH, description="Longest wait in the queue.")
    pending_seconds: int = Field(1800, ge=1, le=_MONTH, description="Longest wait for pods to be placed and started.")
    running_seconds: int = Field(
        3 * _DAY, ge=1, le=_MONTH, description="Longest time that all pods run, waits after a restart not counted."
    )
    no_progress_seconds: int = Field(
        3600, ge=1, le=_MONTH, description="Longest time without a line of output while all pods run."
    )
    active_deadline_seconds: int | None = Field(
        None,
        ge=1,
        le=2 * _MONTH,
        description="When the cluster ends the job by itself, counted from its admission; unset: running_seconds and "
        "pending_seconds for each of its backoff_limit + 1 starts.",
    )
    ttl_seconds: int = Field(_DAY, ge=0, le=_MONTH, description="How long a finished job is kept for a look at it.")

    @property
    def processes_of_a_pod(self) -> int:
        """Processes of each machine, as far as these settings say it."""
        return self.processes or self.gpus_per_node or 1

    @property
    def deadline(self) -> int:
        """Seconds after which the cluster ends the job by itself: never before one of the budgets is spent."""
        return self.active_deadline_seconds or (self.backoff_limit + 1) * self.pending_seconds + self.running_seconds

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.backend == "local" and self.nodes > 1:
            raise ValueError(f"nodes: {self.nodes} machines need a cluster; use backend pytorchjob or trainjob")
        for name in self.env:
            if _DECIDED_VARIABLES.match(name):
                raise ValueError(f"env: {name} is set by the job itself")
            if looks_secret(name):
                raise ValueError(f"env: {name} looks like a secret; name its secret and key in secret_env")
        if both := sorted(self.env.keys() & self.secret_env.keys()):
            raise ValueError(f"env and secret_env both set {', '.join(both)}")
        return self
