"""Which pods a step ran in. The API lists the workflow engine's nodes without their ids, but with their children's.

Argo makes a node's id of its full name: the workflow's name and the name's 32-bit FNV-1a hash. The full name is the
path of display names, where ``(0)`` marks a try. So names are found from the root down, by their hashes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pipeline.cluster.api.client import Object

_FNV_BASIS, _FNV_PRIME = 2166136261, 16777619
_EXECUTOR = "executor"
_TRY = re.compile(r"\((\d+)\)")
# Argo's retries of one node; KFP's own policy has 2
_MOST_TRIES = 20


class Nodes:
    """The nodes of a run.

    Args:
        details: the API's task_details.
    """

    def __init__(self, details: Sequence[Object]) -> None:
        self._details = details
        self._ids = {id for detail in details for id in _children(detail)}
        self.workflow = next(iter(sorted(self._ids)), "").rpartition("-")[0]
        names = {_TRY.sub("", detail.get("display_name") or "") for detail in details}
        self._names = [name.encode() for name in sorted({*names, _EXECUTOR}) if name]
        self.ids = {name: id for name, id in self._walk(self.workflow) if id} if self._ids else {}

    def pod(self, task: str) -> str:
        """Node id of the pod of a step's latest try; empty where none has begun."""
        return self._latest(rf"\.{re.escape(task)}(\(\d+\))?\.{_EXECUTOR}(\(\d+\))?$") or self._followed(task)

    def driver(self, task: str) -> str:
        """Node id of the pod in which Kubeflow prepared the step; empty where none is known."""
        return self._latest(rf"\.{re.escape(task)}-driver(\(\d+\))?$")

    def _latest(self, path: str) -> str:
        names = [name for name in self.ids if re.search(path, name)]
        return self.ids[max(names, key=lambda name: [int(number) for number in _TRY.findall(name)])] if names else ""

    def _walk(self, root: str) -> Iterator[tuple[str, str]]:
        """(full name, id) of all nodes below one, parents first."""
        waiting = [(root, _fnv1a(_FNV_BASIS, root.encode()))]
        while waiting:
            name, state = waiting.pop()
            below = [b"." + display for display in self._names]
            if not name.endswith(")"):
                below += [f"({number})".encode() for number in range(_MOST_TRIES)]
            for suffix in below:
                child = _fnv1a(state, suffix)
                id = f"{self.workflow}-{child}"
                if id in self._ids:
                    full = name + suffix.decode()
                    yield full, id
                    waiting.append((full, child))

    def _followed(self, task: str) -> str:
        """By the ids of the nodes themselves, for a server that tells them."""
        by_id = {detail[key]: detail for detail in self._details for key in ("task_id", "pod_name") if detail.get(key)}
        node = next((detail for detail in self._details if detail.get("display_name") == task), None)
        for _ in range(4):
            children = _children(node) if node else []
            if not node or not children:
                return ""
            if node.get("display_name") == _EXECUTOR:
                return children[-1]
            node = by_id.get(children[-1])
        return ""


def _children(detail: Object) -> list[str]:
    return [child["pod_name"] for child in detail.get("child_tasks") or [] if child.get("pod_name")]


def _fnv1a(state: int, data: bytes) -> int:
    for byte in data:
        state = ((state ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return state
