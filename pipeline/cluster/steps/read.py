"""Reading what steps say: from their logs, and of pods that have none from the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pipeline.cluster.api.client import Api, Object
from pipeline.cluster.api.errors import KfpError
from pipeline.cluster.steps import pods
from pipeline.cluster.steps.log import StepLog
from pipeline.cluster.steps.nodes import Nodes
from pipeline.cluster.steps.tasks import Graph, Task, details_of, tasks_of
from sharpen.errors import SharpenError

# steps whose log ends with the run's outcome, by the beginning of their names
_DECIDES = ("promotion", "data-prep", "plan")


@dataclass(frozen=True)
class Failure:
    """A step that failed.

    Attributes:
        task: the step.
        reasons: why, a line each.
        is_user_error: the user's input is wrong, so that trying again does not help.
    """

    task: Task
    reasons: list[str]
    is_user_error: bool

    def __str__(self) -> str:
        return f"{self.task.title}: {'; '.join(self.reasons)}"


class Steps:
    """The steps of a run as it is now, and what they say.

    Args:
        api: the API.
        run: the run.
        graph: the definition behind it.
    """

    def __init__(self, api: Api, run: Object, graph: Graph) -> None:
        self.tasks = tasks_of(run, graph)
        self._api, self._run, self._graph = api, run, graph
        self._logs: dict[str, StepLog] = {}

    @cached_property
    def _nodes(self) -> Nodes:
        return Nodes(details_of(self._run))

    def log(self, task: Task) -> StepLog:
        """The end of a step's log; an empty one where it cannot be had."""
        if task.name not in self._logs:
            template = self._graph.templates.get(task.name, "system-container-impl")
            self._logs[task.name] = StepLog(self._text(self._nodes.pod(task.name), template))
        return self._logs[task.name]

    def failures(self) -> list[Failure]:
        """The steps that failed, in their order, each with its cause; also those that could not begin."""
        failures = [self.failure(task) for task in self.tasks if task.state == "FAILED"]
        for detail in details_of(self._run):
            name, _, kind = str(detail.get("display_name")).rpartition("-")
            if kind == "driver" and detail.get("state") == "FAILED" and name in self._graph.titles:
                log = StepLog(self._text(self._nodes.driver(name), "system-container-driver"))
                task = Task(name, self._graph.titles[name], "FAILED", None, None)
                failures.append(Failure(task, log.reasons or ["Kubeflow could not prepare it"], is_user_error=False))
        return failures

    def failure(self, task: Task) -> Failure:
        """Why a step failed: from its log, else from its pod where the kubeconfig may see it."""
        log = self.log(task)
        reasons = log.reasons or [self.pod_problem(task) or "its log does not say why"]
        return Failure(task, reasons, log.is_user_error)

    def now(self, task: Task) -> list[str]:
        """What a running step is doing or waiting for, as its log says, else its pod."""
        if task.state != "RUNNING":
            return []
        log = self.log(task)
        if log.failed:
            return [f"failed: {'; '.join(self.failure(task).reasons)}"]
        if log.notes or log.progress:
            return [*log.notes, *filter(None, [log.progress])]
        problem = "" if log.lines else self.pod_problem(task)
        return [problem] if problem else []

    def pod_problem(self, task: Task) -> str:
        """What keeps a step's pod from running, or ended it; empty where nothing is seen."""
        return pods.problem(str(self._run["run_id"]), self._nodes.pod(task.name), self._api.namespace)

    def outcome(self) -> tuple[str, list[str]] | None:
        """(verdict, lines) of the run's outcome, as the step that decided printed it; None where it cannot be had."""
        for task in reversed(self.tasks):
            if task.state == "SUCCEEDED" and task.name.startswith(_DECIDES) and (block := self.log(task).outcome):
                return block
        return None

    def _text(self, node: str, template: str) -> str:
        if not node:
            return ""
        # the engine's newer way to name pods has the template in it
        workflow, _, number = node.rpartition("-")
        names = [node, f"{workflow}-{template}-{number}"]
        for name in names[::-1] if self._api.serves_pages else names:
            try:
                return self._api.read_log(str(self._run["run_id"]), name, str(self._run.get("created_at") or "")[:10])
            except (KfpError, SharpenError):
                continue
        return ""
