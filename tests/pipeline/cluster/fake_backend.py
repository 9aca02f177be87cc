"""What a Kubeflow Pipelines API does, without HTTP: pipelines, versions, experiments, runs, recurring runs.

Behaviour follows the server's source, 2.17: a recurring run without a mode is disabled, names of pipelines and of a
pipeline's versions are unique, those of runs and recurring runs are not, concurrency is 1 to 10, times that are not yet
known lie before 1971. A run that is terminated is CANCELING, then FAILED; no node says why it failed; a pod's log is
had by its node id. A retry removes what failed.
"""

from __future__ import annotations

import datetime
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from tests.pipeline.cluster import openapi
from tests.pipeline.cluster.fake_nodes import Tree

Object = dict[str, Any]
FINISHED = ("SUCCEEDED", "FAILED", "CANCELED")
NEVER = "0001-01-01T00:00:00Z"

_KINDS: dict[str, Any] = {
    "STRING": str,
    "BOOLEAN": bool,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": (int, float),
    "STRUCT": dict,
}


class Call(NamedTuple):
    """A request, as the server got it."""

    operation: str
    path: Object
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class State:
    """What the server keeps."""

    pipelines: dict[str, Object] = field(default_factory=dict)
    versions: dict[str, Object] = field(default_factory=dict)
    experiments: dict[str, Object] = field(default_factory=dict)
    runs: dict[str, Object] = field(default_factory=dict)
    recurring: dict[str, Object] = field(default_factory=dict)


class FakeBackend:
    """The server's state and its answers; tests may change both."""

    def __init__(self) -> None:
        self.state = State()
        self.page_size = 1000
        self.multi_user = False
        # the endpoint is the server of Kubeflow's pages, which passes on calls of v2beta1 only
        self.pages = False
        # the engine's newer way to name pods
        self.pods_have_templates = False
        self.trees: dict[str, Tree] = {}
        self.on_get_run: Callable[[Object], None] = lambda _: None
        self.history: list[tuple[str, str]] = []
        self._clock = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        self._lock = threading.RLock()

    def now(self) -> str:
        """A time later than the last."""
        self._clock += datetime.timedelta(seconds=1)
        return self._clock.strftime("%Y-%m-%dT%H:%M:%SZ")

    def set_state(self, run: Object, state: str) -> None:
        """Give a run a state; the server keeps what it was before."""
        if run.get("state") != state:
            run["state"] = state
            run.setdefault("state_history", []).append({"update_time": self.now(), "state": state})

    def set_tasks(self, run: Object, *tasks: Object) -> None:
        """Give a run its tasks, by display_name and state; the machinery that a real server lists is added."""
        details = self.tree(run).details(tasks, self.now)
        run["run_details"] = {"task_details": [{"run_id": run["run_id"], **detail} for detail in details]}

    def set_log(self, run: Object, task: str, log: Any, tries: int = 1) -> None:
        """Give the pod of a task's last try a log: text, or a function that writes one without end."""
        self.tree(run).logs[self.tree(run).pod(task, tries).rpartition("-")[2]] = log

    def tree(self, run: Object) -> Tree:
        """The nodes of a run."""
        return self.trees.setdefault(run["run_id"], Tree(f"sharpen-{run['run_id'][:5]}"))

    def node_log(self, run: str, node: str) -> Any:
        """The log of a pod; raises `Refused`, as the server does, with 500 for what is not there."""
        number = node.rpartition("-")[2]
        tree = self.trees.get(run)
        if tree is None or number not in tree.logs or self.pods_have_templates != ("-impl-" in node):
            raise Refused(500, 13, f"Failed to read logs from pod {node}")
        return tree.logs[number]

    def handle(self, call: Call) -> Object:
        """The answer to a request; raises `Refused`."""
        name = call.operation.split("_")[1] if "_" in call.operation else call.operation
        method = getattr(self, "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower())
        with self._lock:
            return method(call)

    # health and experiments

    def _get_healthz(self, _: Call) -> Object:
        if self.pages:
            return {"apiServerReady": True, "multi_user": self.multi_user, "frontendTagName": "2.17.0"}
        return {"multi_user": self.multi_user, "pipeline_store": "database"}

    def _list_experiments(self, call: Call) -> Object:
        self._need_namespace(call.query.get("namespace"))
        return self._page(call, "experiments", self.state.experiments)

    def _create_experiment(self, call: Call) -> Object:
        self._need_namespace(call.body.get("namespace"))
        if call.body["display_name"] in self._names(self.state.experiments):
            raise Refused(409, 6, "experiment already exists")
        made = {**call.body, "experiment_id": str(uuid.uuid4()), "created_at": self.now(), "storage_state": "AVAILABLE"}
        self.state.experiments[made["experiment_id"]] = made
        return made

    # pipelines

    def _list_pipelines(self, call: Call) -> Object:
        return self._page(call, "pipelines", self.state.pipelines)

    def _create_pipeline(self, call: Call) -> Object:
        if call.body["name"] in self._names(self.state.pipelines):
            raise Refused(409, 6, "pipeline already exists")
        made = {**call.body, "pipeline_id": str(uuid.uuid4()), "created_at": self.now()}
        self.state.pipelines[made["pipeline_id"]] = made
        return made

    def _list_pipeline_versions(self, call: Call) -> Object:
        self._get(self.state.pipelines, call.path["pipeline_id"], "pipeline")
        of_it = {
            key: {name: value for name, value in version.items() if name != "pipeline_spec"}
            for key, version in self.state.versions.items()
            if version["pipeline_id"] == call.path["pipeline_id"]
        }
        return self._page(call, "pipeline_versions", of_it)

    def _get_pipeline_version(self, call: Call) -> Object:
        return self._get(self.state.versions, call.path["pipeline_version_id"], "version")

    def _upload_pipeline_version(self, call: Call) -> Object:
        pipeline = self._get(self.state.pipelines, call.query["pipelineid"], "pipeline")["pipeline_id"]
        of_it = {key: one for key, one in self.state.versions.items() if one["pipeline_id"] == pipeline}
        if call.query["name"] in self._names(of_it):
            raise Refused(409, 6, "Failed to create a pipeline version")
        spec, platform = list(yaml.safe_load_all(call.body))
        made = {
            "pipeline_id": pipeline,
            "pipeline_version_id": str(uuid.uuid4()),
            "name": call.query["name"],
            "display_name": call.query.get("display_name") or call.query["name"],
            "description": call.query.get("description", ""),
            "created_at": self.now(),
            "pipeline_spec": {"pipeline_spec": spec, "platform_spec": platform},
        }
        self.state.versions[made["pipeline_version_id"]] = made
        return made

    # runs

    def _create_run(self, call: Call) -> Object:
        self._get(self.state.experiments, call.body["experiment_id"], "experiment")
        self._check_parameters(call.body)
        made = {
            **call.body,
            "run_id": str(uuid.uuid4()),
            "storage_state": "AVAILABLE",
            "created_at": self.now(),
            "finished_at": NEVER,
        }
        self.set_state(made, "PENDING")
        self.state.runs[made["run_id"]] = made
        return made

    def _list_runs(self, call: Call) -> Object:
        self._need_namespace(call.query.get("namespace") or call.query.get("experiment_id"))
        experiment = call.query.get("experiment_id")
        runs = {
            key: run for key, run in self.state.runs.items() if not experiment or run["experiment_id"] == experiment
        }
        return self._page(call, "runs", runs)

    def _get_run(self, call: Call) -> Object:
        run = self._get(self.state.runs, call.path["run_id"], "run")
        self.on_get_run(run)
        return run

    def _terminate_run(self, call: Call) -> Object:
        run = self._get(self.state.runs, call.path["run_id"], "run")
        if run["state"] in FINISHED:
            raise Refused(400, 9, f"run {run['run_id']} cannot be terminated in state {run['state']}")
        self.set_state(run, "CANCELING")
        return {}

    def _retry_run(self, call: Call) -> Object:
        run = self._get(self.state.runs, call.path["run_id"], "run")
        if run["state"] != "FAILED":
            raise Refused(500, 13, f"Failed to retry run {run['run_id']}: Workflow must be Failed/Error to retry")
        details = (run.get("run_details") or {}).get("task_details") or []
        run["run_details"] = {"task_details": [detail for detail in details if detail["state"] != "FAILED"]}
        self.set_state(run, "RUNNING")
        return {}

    # the end of all

    def _delete_run(self, call: Call) -> Object:
        del self.state.runs[self._get(self.state.runs, call.path["run_id"], "run")["run_id"]]
        return {}

    def _delete_experiment(self, call: Call) -> Object:
        identity = self._get(self.state.experiments, call.path["experiment_id"], "experiment")["experiment_id"]
        del self.state.experiments[identity]
        return {}

    def _delete_pipeline(self, call: Call) -> Object:
        identity = self._get(self.state.pipelines, call.path["pipeline_id"], "pipeline")["pipeline_id"]
        of_it = [key for key, version in self.state.versions.items() if version["pipeline_id"] == identity]
        if of_it and call.query.get("cascade") != "true":
            raise Refused(400, 9, "the pipeline has versions")
        for key in of_it:
            del self.state.versions[key]
        del self.state.pipelines[identity]
        return {}

    # recurring runs

    def _create_recurring_run(self, call: Call) -> Object:
        self._get(self.state.experiments, call.body["experiment_id"], "experiment")
        self._check_parameters(call.body)
        if not 1 <= int(call.body.get("max_concurrency", 0)) <= 10:
            raise Refused(400, 3, "Max concurrency of a recurring run must be at least 1 and at most 10")
        made = {**call.body, "recurring_run_id": str(uuid.uuid4()), "created_at": self.now()}
        made["status"] = "ENABLED" if call.body.get("mode") == "ENABLE" else "DISABLED"
        self.state.recurring[made["recurring_run_id"]] = made
        self.history.append(("create", made["display_name"]))
        return made

    def _list_recurring_runs(self, call: Call) -> Object:
        experiment = call.query.get("experiment_id")
        found = {key: one for key, one in self.state.recurring.items() if one["experiment_id"] == experiment}
        return self._page(call, "recurringRuns", found)

    def _enable_recurring_run(self, call: Call) -> Object:
        one = self._get(self.state.recurring, call.path["recurring_run_id"], "recurring run")
        one["status"] = "ENABLED"
        self.history.append(("enable", one["display_name"]))
        return {}

    def _disable_recurring_run(self, call: Call) -> Object:
        one = self._get(self.state.recurring, call.path["recurring_run_id"], "recurring run")
        one["status"] = "DISABLED"
        self.history.append(("disable", one["display_name"]))
        return {}

    def _delete_recurring_run(self, call: Call) -> Object:
        one = self._get(self.state.recurring, call.path["recurring_run_id"], "recurring run")
        del self.state.recurring[one["recurring_run_id"]]
        if call.query.get("propagation_policy") != "ORPHAN":
            # the cluster's garbage collector takes the runs with it
            runs = self.state.runs.items()
            self.state.runs = {key: run for key, run in runs if run.get("recurring_run_id") != one["recurring_run_id"]}
        self.history.append(("delete", one["display_name"]))
        return {}

    # what they share

    @staticmethod
    def _names(objects: dict[str, Object]) -> list[str]:
        return [one["display_name"] for one in objects.values()]

    @staticmethod
    def _get(objects: dict[str, Object], key: str, what: str) -> Object:
        if key not in objects:
            raise Refused(404, 5, f"{what} {key} not found")
        return objects[key]

    def _need_namespace(self, namespace: str | None) -> None:
        if self.multi_user and not namespace:
            raise Refused(400, 3, "In multi-user mode, a namespace is needed")
        if not self.multi_user and namespace == "team":
            raise Refused(400, 3, "In single-user mode, there can be no namespace")

    def _check_parameters(self, body: Object) -> None:
        reference = body["pipeline_version_reference"]
        version = self._get(self.state.versions, reference["pipeline_version_id"], "pipeline version")
        if version["pipeline_id"] != reference["pipeline_id"]:
            raise Refused(400, 3, "the version is not one of that pipeline")
        inputs = version["pipeline_spec"]["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
        for name, value in body["runtime_config"]["parameters"].items():
            if name not in inputs or not isinstance(value, _KINDS[inputs[name]["parameterType"]]):
                raise Refused(400, 3, f"parameter {name} is not an input of the pipeline, or of another type")
            if value not in inputs[name].get("literals", [value]):
                raise Refused(400, 3, f"parameter {name} does not match any of the allowed literal values")

    def _page(self, call: Call, key: str, objects: dict[str, Object]) -> Object:
        found = list(objects.values())
        if given := call.query.get("filter"):
            for predicate in openapi.filter_of(given)["predicates"]:
                assert predicate["operation"] == "EQUALS"
                found = [one for one in found if one.get(predicate["key"]) == predicate["string_value"]]
        field_name, _, order = call.query.get("sort_by", "created_at").partition(" ")
        found.sort(key=lambda one: one.get(field_name, ""), reverse=order == "desc")
        size = min(self.page_size, int(call.query.get("page_size", 20)))
        start = int(call.query.get("page_token") or 0)
        page: Object = {key: found[start : start + size], "total_size": len(found)}
        if start + size < len(found):
            page["next_page_token"] = str(start + size)
        return page
