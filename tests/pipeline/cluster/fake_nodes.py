"""The nodes of a run as Kubeflow Pipelines 2.17 lists them: made of Argo's, and without what it never fills in.

A node has a name, a state and the ids of the nodes that follow it, but neither its own id nor an error; ids are Argo's.
Every template has KFP's default policy of retries, so every node is a node of tries with one or more below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Object = dict[str, Any]


def node_id(workflow: str, name: str) -> str:
    """Argo's id of a node of this full name (FNV-1a, 32 bits)."""
    state = 2166136261
    for byte in name.encode():
        state = ((state ^ byte) * 16777619) % 2**32
    return f"{workflow}-{state}"


class Tree:
    """The nodes of a workflow, and the logs of its pods by the number of their node.

    Args:
        workflow: its name.
    """

    def __init__(self, workflow: str) -> None:
        self.workflow = workflow
        self.logs: dict[str, Any] = {}
        self.root = f"{workflow}(0).root(0).exit-handler-1(0)"

    def pod(self, task: str, tries: int = 1) -> str:
        """Node id of the pod of a task's last try."""
        return node_id(self.workflow, f"{self.root}.{task}({tries - 1}).executor(0)")

    def details(self, tasks: Iterable[Object], now: Callable[[], str]) -> list[Object]:
        """task_details of these tasks and of what the engine adds.

        Args:
            tasks: display_name and state of each; ``tries``: how often it began; ``driver``: state of what prepares it.
            now: a time later than the last.
        """
        self._now, self._listed = now, []
        first = self.workflow
        self._node(first, [f"{first}(0)"], "RUNNING")
        self._node(f"{first}(0)", [f"{first}(0).root-driver", f"{first}(0).root"], "RUNNING")
        self._node(f"{first}(0).root", [f"{first}(0).root(0)"], "RUNNING")
        self._node(f"{first}(0).root(0)", [f"{first}(0).root(0).exit-handler-1"], "RUNNING")
        names = [str(task["display_name"]) for task in tasks]
        below = [f"{self.root}.{name}{end}" for name in names for end in ("-driver", "")]
        self._node(f"{first}(0).root(0).exit-handler-1", [self.root], "RUNNING")
        self._node(self.root, below, "RUNNING")
        for task in tasks:
            self._task(dict(task))
        return self._listed

    def _task(self, task: Object) -> None:
        name, state, tries = f"{self.root}.{task['display_name']}", task["state"], task.pop("tries", 1)
        self._node(f"{name}-driver", [], task.pop("driver", "SUCCEEDED"))
        if state in ("SKIPPED", "RUNTIME_STATE_UNSPECIFIED", "PENDING"):
            self._node(name, [], state)
            return
        self._node(name, [f"{name}({number})" for number in range(tries)], state)
        for number in range(tries):
            one = "FAILED" if number < tries - 1 else state
            self._node(f"{name}({number})", [f"{name}({number}).executor"], one)
            self._node(f"{name}({number}).executor", [f"{name}({number}).executor(0)"], one)
            self._node(f"{name}({number}).executor(0)", [], one)

    def _node(self, name: str, children: list[str], state: str) -> None:
        over = state in ("SUCCEEDED", "FAILED", "SKIPPED")
        detail: Object = {
            "task_id": f"00000000-0000-0000-0000-{len(self._listed):012}",
            "display_name": name.rpartition(".")[2],
            "create_time": self._now(),
            "start_time": self._now(),
            "end_time": self._now() if over else "0001-01-01T00:00:00Z",
            "state": state,
        }
        if children:
            detail["child_tasks"] = [{"pod_name": node_id(self.workflow, child)} for child in children]
        self._listed.append(detail)
