"""Following a job on a cluster until it ends, or until waiting longer is no use."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sharpen.errors import InputError
from sharpen.exit_status import ExitStatus
from sharpen.jobs.job import JobResult
from sharpen.jobs.kubernetes import diagnosis
from sharpen.jobs.kubernetes.client import Cluster
from sharpen.jobs.kubernetes.diagnosis import PodProblem
from sharpen.jobs.kubernetes.errors import KubernetesError
from sharpen.jobs.kubernetes.logs import LogStream
from sharpen.jobs.manifests.kinds import Kind, phase_of
from sharpen.jobs.settings import JobSettings
from sharpen.progress import clock

logger = logging.getLogger(__name__)

TAIL_LINES = 50


@dataclass(frozen=True)
class PollInterval:
    """Seconds between two looks at a job, each of which is two or three calls."""

    shortest: float = 2.0
    longest: int = 10


@dataclass
class PodObserver:
    """What was seen of a job's pods. The operator may delete a failed pod, and its output with it, at any moment."""

    failures: dict[str, int] = field(default_factory=dict)
    tails: dict[str, list[str]] = field(default_factory=dict)
    exit_status: ExitStatus | None = None

    def look(self, cluster: Cluster, kind: Kind, pods: Sequence[Mapping[str, Any]]) -> None:
        """Record how pods failed since the last look.

        Args:
            cluster: where they run.
            kind: of their job.
            pods: all pods of the job.
        """
        for pod in pods:
            status = diagnosis.exit_status_of(pod)
            # a fault of the user's explains those that other processes tell after it
            if status and (self.exit_status is None or status.exit_code == InputError.exit_code):
                self.exit_status = status
            key = f"{pod['metadata']['name']} {pod['metadata']['uid']}"
            count = diagnosis.failures(pod)
            if count <= self.failures.get(key, 0):
                continue
            self.failures[key] = count
            name = pod["metadata"]["name"]
            again = any(diagnosis.ends(c) and not (c.get("state") or {}).get("terminated") for c in _statuses(pod))
            words = diagnosis.failure_summary(pod)
            output = cluster.log_tail(name, kind.container, TAIL_LINES, previous=again)
            self.tails[name] = [*words[:1], *(output or words[1:])]
            logger.warning(f"note: pod {name} failed: {(words or ['no exit code known'])[0]}")


class Budgets:
    """How long a job may stay in each state, and how long it has been there.

    A wait in the queue or for pods is counted from its own begin. Running counts in all: the time that a job waits
    after it was preempted, or after a pod was lost, is no running.
    """

    def __init__(self, settings: JobSettings) -> None:
        self._settings = settings
        self._state = ""
        self._since = self._seen = time.monotonic()
        self._ran = 0.0

    def spent(self, state: str, silent_since: float | None) -> str | None:
        """Why the job is given up now; None while it may go on.

        Args:
            state: queued, pending or running.
            silent_since: when the last line of output came; None when output cannot be read.
        """
        now = time.monotonic()
        if self._state == "running":
            self._ran += now - self._seen
        self._seen = now
        if state != self._state:
            self._state, self._since = state, now
        limits = self._settings
        here = now - self._since
        if state == "queued" and here > limits.queued_seconds:
            return f"it waited in the queue for {clock(here)} (job.queued_seconds)"
        if state == "pending" and here > limits.pending_seconds:
            return f"its pods did not all start within {clock(here)} (job.pending_seconds)"
        if self._ran > limits.running_seconds:
            return f"it ran for {clock(self._ran)} (job.running_seconds)"
        if state == "running" and silent_since is not None:
            silent = now - max(silent_since, self._since)
            if silent > limits.no_progress_seconds:
                return f"its output stopped {clock(silent)} ago (job.no_progress_seconds)"
        return None


class Watch:
    """Follows one job.

    Args:
        cluster: where it runs.
        kind: what kind it is.
        job: the job's object.
        settings: its budgets.
        poll: how often it is looked at.
    """

    def __init__(
        self, cluster: Cluster, kind: Kind, job: Mapping[str, Any], settings: JobSettings, poll: PollInterval
    ) -> None:
        self._cluster, self._kind, self._settings, self._poll = cluster, kind, settings, poll
        self._name: str = job["metadata"]["name"]
        self._uid: str = job["metadata"]["uid"]
        self._budgets = Budgets(settings)
        self._observer = PodObserver()
        self._stream: LogStream | None = None
        self._last_state = ""
        self._reported: set[str] = set()
        self._pulling_since: float | None = None

    def until_the_end(self) -> JobResult:
        """Pass on the first pod's output until the job ended, or was given up."""
        try:
            while True:
                job = self._cluster.get_job(self._kind, self._name)
                if job is None or job["metadata"]["uid"] != self._uid:
                    return self._ending("vanished", [f"{self._kind.name} {self._name} was deleted while it ran"])
                if ending := self._look(job):
                    return ending
                self._wait(job)
        finally:
            if self._stream:
                self._stream.finish(0)

    def _look(self, job: Mapping[str, Any]) -> JobResult | None:
        pods = self._cluster.pods(f"{self._kind.job_label}={self._name}")
        self._observer.look(self._cluster, self._kind, pods)
        phase, message = phase_of(self._kind, job)
        if phase in ("succeeded", "failed"):
            if self._stream:
                self._stream.finish()
            return self._ending("succeeded" if phase == "succeeded" else "failed", [message] if message else [])
        if self._observer.exit_status and self._observer.exit_status.exit_code == InputError.exit_code:
            return self._ending("stopped", ["the user's input is wrong, so no restart mends it"])
        self._follow(pods)
        state = self._state(phase, pods)
        if state != self._last_state:
            self._last_state = state
            logger.info(f"job {self._name}: {state}")
        troubles = self._troubles(job, pods, state)
        for trouble in troubles:
            if trouble.line not in self._reported:
                self._reported.add(trouble.line)
                logger.warning(f"note: {trouble.line}")
        if final := [trouble.line for trouble in troubles if trouble.final]:
            return self._given_up(pods, final)
        silent_since = self._stream.last_line if self._stream and self._stream.connected else None
        if spent := self._budgets.spent(state, silent_since):
            return self._given_up(pods, [spent, *(trouble.line for trouble in troubles)])
        return None

    def _state(self, phase: str, pods: Sequence[Mapping[str, Any]]) -> str:
        if phase == "queued":
            return "queued"
        started = sum(diagnosis.started(pod) for pod in pods)
        return "running" if started >= self._settings.nodes else "pending"

    def _troubles(self, job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], state: str) -> list[PodProblem]:
        troubles = list(diagnosis.pod_problems(pods))
        if state == "pending":
            troubles += diagnosis.event_problems(self._cluster.warnings(), job)
        now = time.monotonic()
        if not any(trouble.pulling for trouble in troubles):
            self._pulling_since = None
            return troubles
        self._pulling_since = self._pulling_since or now
        if now - self._pulling_since < diagnosis.PULL_PATIENCE:
            return troubles
        return [PodProblem(t.line, final=t.final or t.pulling, pulling=t.pulling) for t in troubles]

    def _follow(self, pods: Sequence[Mapping[str, Any]]) -> None:
        first = next((pod for pod in pods if self._kind.is_first(pod)), None)
        if first is None or (first.get("status") or {}).get("phase") not in ("Running", "Succeeded", "Failed"):
            return
        key = f"{first['metadata']['name']} {first['metadata']['uid']}"
        if self._stream and self._stream.key == key:
            return
        if self._stream:
            self._stream.finish()
        self._stream = LogStream(self._cluster, first["metadata"]["name"], self._kind.container, key)

    def _wait(self, job: Mapping[str, Any]) -> None:
        began = time.monotonic()
        try:
            self._cluster.wait_for_change(self._kind, dict(job), self._poll.longest)
        except KubernetesError as error:
            if error.status == 401:
                self._cluster.renew()
            # An expired version, a dropped stream, a busy server: the next look asks anew, but not at once.
            time.sleep(min(self._poll.longest, error.retry_after))
        # Changes may come thick and fast.
        time.sleep(max(0.0, self._poll.shortest - (time.monotonic() - began)))

    def _given_up(self, pods: Sequence[Mapping[str, Any]], reasons: list[str]) -> JobResult:
        for pod in pods:
            name = pod["metadata"]["name"]
            if name not in self._observer.tails and (words := self._cluster.log_tail(name, self._kind.container, 10)):
                self._observer.tails[name] = words
        return self._ending("stopped", list(dict.fromkeys(reasons)))

    def _ending(self, state: Any, reasons: list[str]) -> JobResult:
        return JobResult(state, reasons, self._observer.exit_status, dict(self._observer.tails))


def _statuses(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return (pod.get("status") or {}).get("containerStatuses") or []
