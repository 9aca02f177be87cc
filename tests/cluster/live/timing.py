"""How much of a run's time its pods computed."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.cluster.live_cluster import node_name


def overhead(pods: Sequence[Mapping[str, Any]], took: float) -> float:
    """Seconds of a run in which no pod of it computed: those of a step or of a training job, its launcher's left out.

    Args:
        pods: of the run, as they were in the end.
        took: seconds of the run.
    """
    spans = [span for pod in pods if _computes(pod) for span in _spans(pod)]
    return took - covered(spans)


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def _computes(pod: Mapping[str, Any]) -> bool:
    """A driver never does, and a step that launches a job waits for it."""
    return "driver" not in pod["metadata"]["name"] and "finetuning" not in node_name(pod)


def _spans(pod: Mapping[str, Any]) -> Iterable[tuple[float, float]]:
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        # Argo's own container beside a step's waits for it
        ended = (container.get("state") or {}).get("terminated")
        if ended and container["name"] != "wait":
            yield _moment(ended["startedAt"]), _moment(ended["finishedAt"])


def _moment(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()
