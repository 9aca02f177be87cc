"""Following a job on a cluster until it ends, or until waiting longer is no use."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharpen.errors import InputError
from sharpen.jobs.job import JobResult
from sharpen.jobs.kubernetes import diagnosis
from sharpen.jobs.kubernetes.client import Cluster
from sharpen.jobs.kubernetes.diagnosis import PodProblem
from sharpen.jobs.kubernetes.errors import KubernetesError
from sharpen.jobs.kubernetes.log_archive import LogArchive
from sharpen.jobs.kubernetes.logs import LogStream
from sharpen.jobs.kubernetes.observer import PodObserver
from sharpen.jobs.manifests.kinds import Kind, phase_of
from sharpen.jobs.settings import JobSettings
from sharpen.progress import clock

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PollInterval:
    """Seconds between two looks at a job, each of which is two or three calls."""

    shortest: float = 2.0
    longest: int = 10


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
        archive: gets the output of its pods.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: Kind,
        job: Mapping[str, Any],
        settings: JobSettings,
        poll: PollInterval,
        archive: LogArchive,
    ) -> None:
        self._cluster, self._kind, self._settings, self._poll = cluster, kind, settings, poll
        self._name: str = job["metadata"]["name"]
        self._uid: str = job["metadata"]["uid"]
        self._budgets = Budgets(settings)
        self._archive = archive
        self._observer = PodObserver(cluster, kind, archive)
        self._stream: LogStream | None = None
        self._last_state = ""
        # of each kind of problem: the lines that were logged, since when it is there
        self._reported: dict[str, list[str]] = {}
        self._since: dict[str, float] = {}
        self._pull_causes: dict[str, str] = {}

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
        self._observer.look(pods)
        phase, message = phase_of(self._kind, job)
        if phase in ("succeeded", "failed"):
            if self._stream:
                self._stream.finish()
            self._archive.save(pods)
            if phase == "succeeded":
                return self._ending("succeeded", [])
            final = [problem.line for problem in self._pod_problems(pods) if problem.patience == 0]
            return self._ending("failed", [*final, *([message] if message else [])])
        if self._observer.exit_status and self._observer.exit_status.exit_code == InputError.exit_code:
            return self._given_up(pods, ["the user's input is wrong, so no restart mends it"])
        self._follow(pods)
        state = self._state(phase, pods)
        if state != self._last_state:
            self._last_state = state
            # what a state waits for is read after the line that names it
            self._reported.clear()
            logger.info(f"job {self._name}: {state}")
        problems = self._problems(job, pods, state)
        if final := [problem.line for problem in problems if self._is_final(problem)]:
            return self._given_up(pods, final)
        self._report(problems)
        silent_since = self._stream.last_line if self._stream and self._stream.connected else None
        if spent := self._budgets.spent(state, silent_since):
            return self._given_up(pods, [spent, *(problem.line for problem in problems)])
        return None

    def _state(self, phase: str, pods: Sequence[Mapping[str, Any]]) -> str:
        if phase == "queued":
            return "queued"
        started = sum(diagnosis.started(pod) for pod in pods)
        return "running" if started >= self._settings.nodes else "pending"

    def _problems(self, job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], state: str) -> list[PodProblem]:
        problems = self._pod_problems(pods)
        if state == "pending":
            problems += diagnosis.event_problems(self._cluster.warnings(), job)
        now = time.monotonic()
        self._since = {problem.kind: self._since.get(problem.kind, now) for problem in problems}
        return problems

    def _pod_problems(self, pods: Sequence[Mapping[str, Any]]) -> list[PodProblem]:
        return diagnosis.pod_problems(pods, self._pull_causes, "job")

    def _is_final(self, problem: PodProblem) -> bool:
        return problem.patience is not None and time.monotonic() - self._since[problem.kind] >= problem.patience

    def _report(self, problems: Sequence[PodProblem]) -> None:
        """Log what is new since a problem of the same kind was seen last."""
        lines: dict[str, list[str]] = {}
        for problem in problems:
            known = lines.setdefault(problem.kind, [])
            if problem.line not in known:
                known.append(problem.line)
                if problem.line not in self._reported.get(problem.kind, []):
                    logger.warning(f"note: {problem.line}")
        self._reported |= lines

    def _follow(self, pods: Sequence[Mapping[str, Any]]) -> None:
        first = next((pod for pod in pods if self._kind.is_first(pod)), None)
        if first is None or (first.get("status") or {}).get("phase") not in ("Running", "Succeeded", "Failed"):
            return
        key = f"{first['metadata']['name']} {first['metadata']['uid']}"
        if self._stream and self._stream.key == key:
            return
        if self._stream:
            self._stream.finish()
        name = first["metadata"]["name"]
        self._stream = LogStream(self._cluster, name, self._kind.container, key, self._archive.first)

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
            if name not in self._observer.tails and (words := self._cluster.log_lines(name, self._kind.container, 10)):
                self._observer.tails[name] = words
        self._archive.save(pods)
        return self._ending("stopped", list(dict.fromkeys(reasons)))

    def _ending(self, state: Any, reasons: list[str]) -> JobResult:
        seen = self._observer
        disrupted = state == "failed" and seen.disruptions > 0 and not seen.failures
        return JobResult(state, reasons, seen.exit_status, dict(seen.tails), disrupted)
