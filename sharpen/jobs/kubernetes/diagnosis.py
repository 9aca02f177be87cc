"""Why pods do not run, in plain lines: read from pods' statuses and from events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharpen.exit_status import ExitStatus, parse_exit_status

Object = Mapping[str, Any]

# seconds for which an image that cannot be pulled may still be a registry's bad moment
PULL_PATIENCE = 180.0
# what a registry says when trying again changes nothing
_PULL_FINAL = (
    "not found",
    "unauthorized",
    "denied",
    "forbidden",
    "manifest unknown",
    "no such image",
    "invalid reference",
)
_PULLING = ("ErrImagePull", "ImagePullBackOff")
_NEVER_STARTS = {
    "InvalidImageName": "job.image is not an image's name",
    "ErrImageNeverPull": "the image is not on the node and may not be pulled",
    "CreateContainerConfigError": "a secret, config map or key that the pod needs is not in the namespace",
    "CreateContainerError": "the container cannot be made",
    "RunContainerError": "the container's program cannot be started",
    "StartError": "the container's program cannot be started",
}
# of events about pods that are placed but do not get their volumes, network or sandbox
_STARTING = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "NetworkNotReady")


@dataclass(frozen=True)
class PodProblem:
    """Something that keeps a job from running.

    Attributes:
        line: what, where and what to do.
        final: waiting cannot mend it.
        pulling: an image cannot be pulled, which is final only after a while.
    """

    line: str
    final: bool = False
    pulling: bool = False


def pod_problems(pods: Sequence[Object]) -> Iterator[PodProblem]:
    """What the statuses of pods say."""
    for pod in pods:
        name = pod["metadata"]["name"]
        status = pod.get("status") or {}
        yield from _placement(name, status)
        if status.get("reason") == "Evicted":
            yield PodProblem(f"pod {name} was evicted: {status.get('message', '')}")
        for container in _containers(status):
            waiting = (container.get("state") or {}).get("waiting") or {}
            yield from _waiting(name, waiting.get("reason", ""), waiting.get("message", ""))
            if any(end.get("reason") == "OOMKilled" for end in ends(container)):
                # batches are the same after a restart, so it would end there again
                yield PodProblem(
                    f"pod {name} ran out of memory (OOMKilled; its limit is {_memory(pod)}): raise job.memory, or "
                    "lower training.activation_gib",
                    final=True,
                )


def event_problems(events: Sequence[Object], job: Object) -> Iterator[PodProblem]:
    """What events say about a job's pods that cannot be made or started, oldest first.

    Events outlive what they are about: those from before the job are of an earlier one of its name.
    """
    name, born = job["metadata"]["name"], job["metadata"].get("creationTimestamp") or ""
    for event in sorted(events, key=_event_time):
        about = (event.get("involvedObject") or {}).get("name", "")
        if (about != name and not about.startswith(f"{name}-")) or "" < _event_time(event) < born:
            continue
        message = event.get("message") or ""
        if "violates PodSecurity" in message:
            what = message[message.index("violates PodSecurity") :]
            yield PodProblem(f"the namespace's Pod Security refuses the pods: {what}", final=True)
        elif "exceeded quota" in message:
            what = message[message.index("exceeded quota") :]
            yield PodProblem(f"the namespace's quota is used up: {what}; ask for less, or wait for others to end")
        elif "admission webhook" in message and "denied" in message:
            yield PodProblem(f"an admission rule refuses the pods: {message}", final=True)
        elif "is forbidden" in message:
            yield PodProblem(f"the pods may not be made: {message}", final=True)
        elif event.get("reason") in _STARTING:
            yield PodProblem(f"{about} does not start: {message}")


def exit_status_of(pod: Object) -> ExitStatus | None:
    """What a process of the pod told before it failed, now or before the container started again."""
    for container in _containers(pod.get("status") or {}):
        for end in ends(container):
            if told := parse_exit_status(end.get("message") or ""):
                return told
    return None


def ends(container: Object) -> list[Object]:
    """How a container ended, the last time and the time before."""
    states = (container.get("state") or {}, container.get("lastState") or {})
    return [state["terminated"] for state in states if state.get("terminated")]


def failures(pod: Object) -> int:
    """How often containers of the pod ended badly."""
    count = 0
    for container in _containers(pod.get("status") or {}):
        count += container.get("restartCount", 0)
        ended = (container.get("state") or {}).get("terminated")
        count += bool(ended and ended.get("exitCode"))
    return count


def failure_summary(pod: Object) -> list[str]:
    """Exit code, reason and the last lines that the cluster kept of a pod that failed."""
    lines = []
    for container in _containers(pod.get("status") or {}):
        for end in ends(container)[:1]:
            if not end.get("exitCode"):
                continue
            why = f" ({end['reason']})" if end.get("reason") not in (None, "", "Error") else ""
            lines.append(f"exit code {end['exitCode']}{why}")
            message = end.get("message") or ""
            if message and parse_exit_status(message) is None:
                lines += message.splitlines()
    return lines


def started(pod: Object) -> bool:
    """True when the pod's containers run, or have done their work."""
    status = pod.get("status") or {}
    if status.get("phase") == "Succeeded":
        return True
    containers = _containers(status)
    return status.get("phase") == "Running" and all((c.get("state") or {}).get("running") for c in containers)


def _containers(status: Object) -> list[Object]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _placement(name: str, status: Object) -> Iterator[PodProblem]:
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            yield PodProblem(f"pod {name} finds no node: {condition.get('message', '')}")
        if condition["type"] == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            yield PodProblem(f"pod {name} waits for a scheduling gate: {condition.get('message', '')}")


def _waiting(name: str, reason: str, message: str) -> Iterator[PodProblem]:
    if reason in _PULLING:
        final = any(word in message.lower() for word in _PULL_FINAL)
        line = f"pod {name} cannot pull its image: {message or reason}; check job.image and job.image_pull_secrets"
        yield PodProblem(line, final=final, pulling=True)
    elif reason in _NEVER_STARTS:
        yield PodProblem(f"pod {name} cannot start: {_NEVER_STARTS[reason]} ({reason}: {message})", final=True)


def _memory(pod: Object) -> str:
    limits = [(c.get("resources") or {}).get("limits") or {} for c in pod["spec"].get("containers") or []]
    return next((limit["memory"] for limit in limits if "memory" in limit), "that of the node")


def _event_time(event: Object) -> str:
    return event.get("lastTimestamp") or event.get("eventTime") or ""
