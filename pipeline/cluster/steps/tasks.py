"""The steps of a run in a person's words: what the pipeline's definition says of them, and how far they are."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

from pipeline.cluster.api.client import Api, Object
from pipeline.cluster.api.errors import KfpError

# the condition of the graph that does not hold where nothing is new
_TRAIN = "train"
# what the workflow engine adds around the steps
_MACHINERY = re.compile(r".*-driver$|^root$|^executor|^exit-handler-\d+|^condition-\d+|.*\.onExit$|.*\(\d+\)$")


@dataclass(frozen=True)
class Task:
    """A step of a run.

    Attributes:
        name: its name in the pipeline.
        title: what a person reads.
        state: as the API says, such as ``RUNNING``.
        started: when; None: not yet.
        ended: when; None: not yet.
    """

    name: str
    title: str
    state: str
    started: datetime.datetime | None
    ended: datetime.datetime | None


@dataclass(frozen=True)
class Graph:
    """What the pipeline's definition says about the tasks of a run.

    Attributes:
        titles: of the steps, by name.
        templates: of the workflow engine for the steps' pods, by the step's name.
        train: names of the condition under which the run trains.
    """

    titles: dict[str, str]
    templates: dict[str, str]
    train: frozenset[str]

    @classmethod
    def of(cls, spec: Object) -> Graph:
        """From a pipeline spec as the API returns it; empty values where there is none."""
        platform: Object = spec.get("platform_spec") or {}
        spec = spec.get("pipeline_spec") or spec
        components: Object = spec.get("components") or {}
        dags = [part.get("dag") or {} for part in (spec.get("root") or {}, *components.values())]
        titles, templates, train = {}, {}, set()
        for name, task in (item for dag in dags for item in (dag.get("tasks") or {}).items()):
            title = (task.get("taskInfo") or {}).get("name") or name
            component = components.get(str((task.get("componentRef") or {}).get("name"))) or {}
            if "dag" not in component:
                titles[name] = title
                templates[name] = _template(task, component, platform)
            elif title == _TRAIN:
                train.add(name)
        return cls(titles, templates, frozenset(train))


def graph_of(api: Api, run: Object) -> Graph:
    """The definition behind a run; without it tasks have no titles, which is no reason to show nothing."""
    if run.get("pipeline_spec"):
        return Graph.of(run["pipeline_spec"])
    reference = run.get("pipeline_version_reference") or {}
    if not reference.get("pipeline_version_id"):
        return Graph.of({})
    try:
        version = api.call(
            "read the pipeline's version",
            api.pipelines.pipeline_service_get_pipeline_version,
            pipeline_id=reference.get("pipeline_id") or "",
            pipeline_version_id=reference["pipeline_version_id"],
        )
    except KfpError:
        return Graph.of({})
    return Graph.of(version.get("pipeline_spec") or {})


def details_of(run: Object) -> list[Object]:
    """The nodes of the workflow engine, as the API lists them."""
    return (run.get("run_details") or {}).get("task_details") or []


def tasks_of(run: Object, graph: Graph) -> list[Task]:
    """The steps of a run that have begun, in their order; what the workflow engine adds is left out."""
    tasks: dict[str, Task] = {}
    ids = [child.get("pod_name") or "" for detail in details_of(run) for child in detail.get("child_tasks") or []]
    workflow = ids[0].rpartition("-")[0] if ids else str(run.get("display_name"))
    for detail in details_of(run):
        name = detail.get("display_name") or ""
        if graph.titles and name not in graph.titles:
            continue
        if not graph.titles and (_MACHINERY.match(name) or name.startswith(workflow)):
            continue
        tasks[name] = Task(
            name=name,
            title=graph.titles.get(name, name),
            state=detail.get("state") or "RUNTIME_STATE_UNSPECIFIED",
            started=moment(detail.get("start_time")),
            ended=moment(detail.get("end_time")),
        )
    never = datetime.datetime.max.replace(tzinfo=datetime.UTC)
    return sorted(tasks.values(), key=lambda task: (task.started or never, task.name))


def is_skipped(run: Object, graph: Graph) -> bool:
    """True where nothing was new, so that the run did not train."""
    states = {detail.get("display_name"): detail.get("state") for detail in details_of(run)}
    return any(states.get(name) == "SKIPPED" for name in graph.train)


def moment(text: str | None) -> datetime.datetime | None:
    """A time of the API; None where it has none, for which the API says some time long ago."""
    if not text:
        return None
    parsed = datetime.datetime.fromisoformat(text)
    return parsed if parsed.year > 1970 else None


def _template(task: Object, component: Object, platform: Object) -> str:
    """The workflow template of a step's pod, as Kubeflow's compiler names it (argocompiler/container.go)."""
    template = "retry-system-container-impl" if task.get("retryPolicy") else "system-container-impl"
    kubernetes = (platform.get("platforms") or {}).get("kubernetes") or {}
    executors = (kubernetes.get("deploymentSpec") or {}).get("executors") or {}
    metadata = (executors.get(component.get("executorLabel")) or {}).get("podMetadata")
    if metadata is None:
        return template
    return f"metadata-{len(metadata.get('annotations') or {})}-{len(metadata.get('labels') or {})}-{template}"
