"""The pods of a run that need much: what each requests, where it may run, and which settings say so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.doctor.finding import Visit
from pipeline.resources import needs_of
from sharpen.jobs.cluster_probe import Survey
from sharpen.jobs.settings import Toleration


@dataclass(frozen=True)
class Pods:
    """Equal pods that run at the same time.

    Attributes:
        of: what a check's name gets behind it: nothing for the pods that train.
        who: in words.
        survey: their namespace.
        count: how many there are at least at a time.
        resources: what each requests; limits on memory are equal.
        settings: resource -> the setting that asks for it.
        node_selector, tolerations: of each.
        topology: labels that a node must have some value of.
    """

    of: str
    who: str
    survey: Survey
    count: int
    resources: Mapping[str, str]
    settings: Mapping[str, str]
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Toleration] = ()
    topology: Sequence[str] = ()


def wanted(visit: Visit) -> Iterator[Pods]:
    """The pods that train, which are the job's or the step's own, and those of the other steps that compute."""
    job, pods = visit.settings.job, visit.settings.pods
    needs = needs_of(pods, job)
    names = ("cpu", "memory", job.gpu_resource)
    asked = dict(zip(names, ("job.cpu", "job.memory", "job.gpus_per_node"), strict=True))
    if visit.backend == "local":
        training = needs["finetuning"]
        yield _step("", "the pod of the step that trains", visit, training.cpu, training.memory, training.gpus, asked)
    else:
        resources = {"cpu": job.cpu, "memory": job.memory, **job.extra_resources}
        if job.gpus_per_node:
            resources[job.gpu_resource] = str(job.gpus_per_node)
        asked |= dict.fromkeys(job.extra_resources, "job.extra_resources")
        spread = [one.topologyKey for one in job.topology_spread if one.whenUnsatisfiable == "DoNotSchedule"]
        yield Pods(
            "",
            "the job's pods",
            visit.jobs,
            job.nodes,
            resources,
            asked,
            job.node_selector,
            job.tolerations,
            [*filter(None, [job.same_topology]), *spread],
        )
    asked = dict(zip(names, ("pods.cpu", "pods.memory", "pods.gpus"), strict=True))
    computing = needs["hard-negatives"]
    who = "pods of steps that compute"
    yield _step(" of steps", who, visit, computing.cpu, computing.memory, computing.gpus, asked)


def _step(of: str, who: str, visit: Visit, cpu: str, memory: str, gpus: int, settings: Mapping[str, str]) -> Pods:
    """As `pipeline.pods.provide` makes it."""
    resource = visit.settings.job.gpu_resource
    resources = {"cpu": cpu, "memory": memory} | ({resource: str(gpus)} if gpus else {})
    tolerated = (Toleration.checked({"key": resource, "operator": "Exists", "effect": "NoSchedule"}),) if gpus else ()
    return Pods(of, who, visit.runs, 1, resources, settings, {}, tolerated)
