"""Runs on the server: found by id or name, their tasks in a person's words, and their end."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from pipeline.cluster.api.client import Api, Object, equals_filter
from pipeline.cluster.api.errors import KfpError
from sharpen.errors import InputError

# conditions of the graph that say which way a run went
BRANCHES = ("promote", "reject", "skip", "compare again", "not promoted")
FINISHED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# what the workflow engine adds around the steps
_MACHINERY = re.compile(r".*-driver$|^root$|^executor|^exit-handler-\d+|^condition-\d+|.*\.onExit$")


@dataclass(frozen=True)
class Task:
    """A step of a run.

    Attributes:
        name: its name in the pipeline.
        title: what a person reads.
        state: as the API says, such as ``RUNNING``.
        started: when; None: not yet.
        ended: when; None: not yet.
        error: what the server says of a failure; empty: nothing.
    """

    name: str
    title: str
    state: str
    started: datetime.datetime | None
    ended: datetime.datetime | None
    error: str


@dataclass(frozen=True)
class Graph:
    """What the pipeline's definition says about the tasks of a run.

    Attributes:
        titles: of the steps, by name.
        branches: what it means that a condition held (one of `BRANCHES`), by its name.
    """

    titles: dict[str, str]
    branches: dict[str, str]

    @classmethod
    def of(cls, spec: Object) -> Graph:
        """From a pipeline spec as the API returns it; empty values where there is none."""
        spec = spec.get("pipeline_spec") or spec
        components: Object = spec.get("components") or {}
        dags = [part.get("dag") or {} for part in (spec.get("root") or {}, *components.values())]
        titles, branches = {}, {}
        for name, task in (item for dag in dags for item in (dag.get("tasks") or {}).items()):
            title = (task.get("taskInfo") or {}).get("name") or name
            component = components.get(str((task.get("componentRef") or {}).get("name"))) or {}
            if "dag" not in component:
                titles[name] = title
            elif title in BRANCHES:
                branches[name] = title
        return cls(titles, branches)


def find(api: Api, run: str, *, experiment: str | None = None) -> Object:
    """The run of this id or name, with the states of its tasks.

    Args:
        api: the API.
        run: id, or a name that only one run has.
        experiment: id of the experiment to look for the name in; None: all.

    Raises:
        InputError: there is none, or there are several of the name.
    """
    place = " in the experiment" if experiment else ""
    if _ID.fullmatch(run.lower()):
        run = run.lower()
    else:
        named = [found for found in latest(api, experiment, 1000, name=run) if found.get("storage_state") != "ARCHIVED"]
        if not named:
            raise InputError(f"{run}: no run{place} has this id or name; `sharpen status` lists the latest")
        if len(named) > 1:
            ids = ", ".join(str(found["run_id"]) for found in named[:5])
            raise InputError(f"{run}: {len(named)} runs have this name; give the id of one: {ids}")
        run = str(named[0]["run_id"])
    return get(api, run)


def get(api: Api, identity: str) -> Object:
    """The run of this id. Raises InputError when there is none."""
    try:
        return api.call("read the run", api.runs.run_service_get_run, run_id=identity)
    except KfpError as fault:
        if fault.status == 404:
            raise InputError(f"{identity}: there is no such run; `sharpen status` lists the latest") from None
        raise


def latest(api: Api, experiment: str | None, count: int, *, name: str = "") -> list[Object]:
    """The newest runs, the newest first.

    Args:
        api: the API.
        experiment: id of the experiment; None: of all.
        count: how many at most.
        name: only runs of this name; empty: of any.
    """
    listed = api.paginate(
        "list runs",
        "runs",
        api.runs.run_service_list_runs,
        experiment_id=experiment,
        namespace=None if experiment else api.namespace or None,
        sort_by="created_at desc",
        filter=equals_filter("display_name", name) if name else None,
    )
    return list(islice((run for run in listed if not name or run.get("display_name") == name), count))


def unfinished(api: Api, experiment: str) -> Iterator[Object]:
    """The runs of an experiment that have not ended."""
    for run in latest(api, experiment, 10_000):
        if state(run) not in (*FINISHED, "CANCELING"):
            yield run


def cancel(api: Api, run: Object) -> str:
    """End a run; the state that it had ended in before, empty if it is ended now."""
    if state(run) in FINISHED:
        return state(run)
    try:
        api.call("cancel the run", api.runs.run_service_terminate_run, run_id=run["run_id"])
    except KfpError:
        # it may have ended in between
        ended = state(get(api, str(run["run_id"])))
        if ended not in FINISHED:
            raise
        return ended
    return ""


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


def tasks_of(run: Object, graph: Graph) -> list[Task]:
    """The steps of a run that have begun, in their order; what the workflow engine adds is left out."""
    found: dict[str, Task] = {}
    for detail in (run.get("run_details") or {}).get("task_details") or []:
        name = detail.get("display_name") or ""
        if graph.titles and name not in graph.titles:
            continue
        if not graph.titles and (_MACHINERY.match(name) or name.startswith(str(run.get("display_name")))):
            continue
        found[name] = Task(
            name=name,
            title=graph.titles.get(name, name),
            state=detail.get("state") or "RUNTIME_STATE_UNSPECIFIED",
            started=moment(detail.get("start_time")),
            ended=moment(detail.get("end_time")),
            error=error_of(detail),
        )
    never = datetime.datetime.max.replace(tzinfo=datetime.UTC)
    return sorted(found.values(), key=lambda task: (task.started or never, task.name))


def verdict(run: Object, graph: Graph) -> str:
    """Which way the run went: ``promote`` or ``reject`` once the gate has spoken, ``skip`` where nothing was new.

    ``overtaken`` where another run changed the champion first, and the model did not replace that one. Empty before. A
    branch that the run did not take is there as skipped; of one that it took, the task runs or ran.
    """
    states = {
        detail.get("display_name"): detail.get("state")
        for detail in (run.get("run_details") or {}).get("task_details") or []
    }
    seen = {way: states[name] for name, way in graph.branches.items() if name in states}
    held = {way for way, said in seen.items() if said in ("PENDING", "RUNNING", "SUCCEEDED", "FAILED")}
    if "compare again" in held:
        if "not promoted" in held:
            return "overtaken"
        return "promote" if seen.get("not promoted") == "SKIPPED" else ""
    for way in ("promote", "reject", "skip"):
        if way in held:
            return way
    return "reject" if states.get("gate") == "SUCCEEDED" and seen.get("promote") == "SKIPPED" else ""


def state(run: Object) -> str:
    """The run's state, as the API says."""
    return str(run.get("state") or "PENDING").replace("RUNTIME_STATE_UNSPECIFIED", "PENDING")


def error_of(thing: Object) -> str:
    """What the server says of the failure of a run or task, in one line; empty: nothing."""
    history = thing.get("state_history") or []
    errors = [thing.get("error"), *(entry.get("error") for entry in reversed(history))]
    said = next((str(error["message"]) for error in errors if error and error.get("message")), "")
    return " ".join(said.split())


def moment(text: str | None) -> datetime.datetime | None:
    """A time of the API; None where it has none, for which the API says some time long ago."""
    if not text:
        return None
    parsed = datetime.datetime.fromisoformat(text)
    return parsed if parsed.year > 1970 else None
