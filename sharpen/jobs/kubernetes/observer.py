"""What was seen of a job's pods while it ran."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from sharpen.errors import InputError, Interrupted
from sharpen.exit_status import ExitStatus
from sharpen.jobs.kubernetes import diagnosis
from sharpen.jobs.kubernetes.client import Cluster
from sharpen.jobs.kubernetes.log_archive import LogArchive
from sharpen.jobs.manifests.kinds import Kind

logger = logging.getLogger(__name__)

TAIL_LINES = 50


class PodObserver:
    """How pods failed. The operator may delete a failed pod, and its output with it, at any moment.

    Args:
        cluster: where they run.
        kind: of their job.
        archive: gets the output of each start that failed.

    Attributes:
        tails: pod -> the last lines of its output, for pods that failed.
        exit_status: what a process said of its failure.
        disruptions: how often the cluster ended a pod.
        failures: how often a pod failed by itself.
    """

    def __init__(self, cluster: Cluster, kind: Kind, archive: LogArchive) -> None:
        self._cluster, self._kind, self._archive = cluster, kind, archive
        self._counts: dict[str, int] = {}
        self.tails: dict[str, list[str]] = {}
        self.exit_status: ExitStatus | None = None
        self.disruptions = self.failures = 0

    def look(self, pods: Sequence[Mapping[str, Any]]) -> None:
        """Record how pods failed since the last look, of all pods of the job."""
        for pod in pods:
            status = diagnosis.exit_status_of(pod)
            interrupted = status is not None and status.exit_code == Interrupted.exit_code
            # a fault of the user's explains those that other processes tell after it
            if status and not interrupted and (self.exit_status is None or status.exit_code == InputError.exit_code):
                self.exit_status = status
            key = f"{pod['metadata']['name']} {pod['metadata']['uid']}"
            count = diagnosis.failures(pod)
            if count <= self._counts.get(key, 0):
                continue
            self._counts[key] = count
            self._failed(pod, status if interrupted else None)

    def _failed(self, pod: Mapping[str, Any], interruption: ExitStatus | None) -> None:
        name, words = pod["metadata"]["name"], diagnosis.failure_summary(pod)
        again = diagnosis.restarted(pod)
        output = self._cluster.log_lines(name, self._kind.container, previous=again)
        self._archive.save_start(pod, output, again=again)
        if interruption or diagnosis.disrupted(pod):
            self.disruptions += 1
            why = interruption.lines[0] if interruption else diagnosis.disruption_of(pod)
            logger.warning(f"note: the cluster ended pod {name}: {why}")
            return
        self.failures += 1
        self.tails[name] = [*words[:1], *(output[-TAIL_LINES:] or words[1:])]
        logger.warning(f"note: pod {name} failed: {(words or ['no exit code known'])[0]}")
