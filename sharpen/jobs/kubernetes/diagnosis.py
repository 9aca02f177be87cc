"""Why pods do not run, in plain lines: read from pods' statuses and from events."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sharpen.exit_status import ExitStatus, parse_exit_status

Object = Mapping[str, Any]
# whose pods they are, as the group of their settings: a training job's, or those of a pipeline's steps
Group = Literal["job", "pods"]

# seconds for which an image that cannot be pulled may still be a registry's bad moment, and for which one that the
# registry or the name service does not know may still be on its way
PULL_PATIENCE = 180.0
NOT_FOUND_PATIENCE = 60.0
_NOT_FOUND = (
    *("not found", "manifest unknown", "no such image", "does not exist", "no such host"),
    *("unauthorized", "denied", "forbidden", "invalid reference"),
)
_PULLING = ("ErrImagePull", "ImagePullBackOff")
# kubelet and containerd wrap a cause in what they were doing, each with the image's name again
_WRAPPING = re.compile(
    r'^(?:(?:Back-off pulling image|failed to [a-z ]+|Head|Get) "(?P<name>[^"]*)"(?:: )?'
    r"|ErrImagePull: |rpc error: code = \w+ desc = |failed to do request: )"
)
_NEVER_STARTS = {
    "InvalidImageName": "{image} is not an image's name",
    "ErrImageNeverPull": "the image is not on the node and may not be pulled",
    "CreateContainerConfigError": "a secret, config map or key that the pod needs is not in the namespace",
    "CreateContainerError": "the container cannot be made",
    "RunContainerError": "the container's program cannot be started",
    "StartError": "the container's program cannot be started",
}
_IMAGE: Mapping[Group, str] = {"job": "job.image", "pods": "the image that the pipeline was compiled with"}
_PULL_SECRETS: Mapping[Group, str] = {"job": "job.image_pull_secrets", "pods": "its service account's pull secrets"}
_MORE_MEMORY: Mapping[Group, str] = {
    "job": "raise job.memory, or lower training.activation_gib",
    "pods": "raise pods.memory",
}
# https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions, and before those
_DISRUPTIONS = ("Evicted", "Preempting", "NodeLost", "NodeShutdown", "Terminated")
# of events about pods that are placed but do not get their volumes, network or sandbox
_STARTING = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "NetworkNotReady")


@dataclass(frozen=True)
class PodProblem:
    """Something that keeps a job from running.

    Attributes:
        kind: what it is about, in a word.
        line: what, where and what to do.
        patience: seconds after which waiting longer is no use; None: it may pass at any time.
    """

    kind: str
    line: str
    patience: float | None = None


def pod_problems(pods: Sequence[Object], causes: dict[str, str], group: Group) -> list[PodProblem]:
    """What the statuses of pods say; the same problem of several pods is one.

    Args:
        pods: of a job or of a step.
        causes: pod -> why its image could not be pulled, as far as that was seen; added to.
        group: of the settings that say how they are made.
    """
    grouped: dict[PodProblem, list[str]] = {}
    for pod in pods:
        for problem in _problems_of(pod, causes, group):
            grouped.setdefault(problem, []).append(pod["metadata"]["name"])
    return [
        replace(problem, line=f"pod {names[0]}{f' (and {len(names) - 1} more)' if names[1:] else ''} {problem.line}")
        for problem, names in grouped.items()
    ]


def _problems_of(pod: Object, causes: dict[str, str], group: Group) -> Iterator[PodProblem]:
    status = pod.get("status") or {}
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            yield PodProblem("node", f"finds no node: {condition.get('message', '')}")
        if condition["type"] == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            yield PodProblem("gate", f"waits for a scheduling gate: {condition.get('message', '')}")
    if status.get("reason") == "Evicted":
        yield PodProblem("eviction", f"was evicted: {status.get('message', '')}")
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in _PULLING:
            yield _pull_problem(pod, container, message, causes, group)
        elif reason in _NEVER_STARTS:
            why = _NEVER_STARTS[reason].format(image=_IMAGE[group])
            yield PodProblem("start", f"cannot start: {why} ({reason}: {message})", patience=0)
        if any(end.get("reason") == "OOMKilled" for end in ends(container)):
            # batches are the same after a restart, so it would end there again
            line = f"ran out of memory (OOMKilled; its limit is {_memory(pod)}): {_MORE_MEMORY[group]}"
            yield PodProblem("memory", line, patience=0)


def _pull_problem(pod: Object, container: Object, message: str, causes: dict[str, str], group: Group) -> PodProblem:
    name, containers = pod["metadata"]["name"], (pod.get("spec") or {}).get("containers") or []
    image = next((c.get("image", "") for c in containers if c["name"] == container["name"]), "")
    while wrapping := _WRAPPING.match(message):
        message = message[wrapping.end() :].removeprefix(f"{wrapping['name']}: ")
    if message:
        causes[name] = " ".join(message.split())
    why = causes.get(name, "")
    check = f"check {_IMAGE[group]} and {_PULL_SECRETS[group]}"
    line = f"cannot pull its image {image}: {why or 'no reason is known yet'}; {check}"
    final = any(word in why.lower() for word in _NOT_FOUND)
    return PodProblem("image", line, NOT_FOUND_PATIENCE if final else PULL_PATIENCE)


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
        if problem := refusal(message):
            yield problem
        elif "is forbidden" in message:
            yield PodProblem("rights", f"the pods may not be made: {message}", patience=0)
        elif event.get("reason") in _STARTING:
            yield PodProblem("volume", f"{about} does not start: {message}")


def refusal(message: str) -> PodProblem | None:
    """What the API server means that does not let a job or a pod be made; None: nothing that is known here."""
    if "violates PodSecurity" in message:
        what = message[message.index("violates PodSecurity") :]
        return PodProblem("security", f"the namespace's Pod Security refuses the pods: {what}", patience=0)
    if "exceeded quota" in message:
        what = message[message.index("exceeded quota") :]
        return PodProblem("quota", f"the namespace's quota is used up: {what}; ask for less, or wait for others to end")
    if "admission webhook" in message and "denied" in message:
        return PodProblem("admission", f"an admission rule refuses it: {message}", patience=0)
    return None


def disrupted(pod: Object) -> bool:
    """True for a pod that the cluster ended: evicted, preempted, or with its node; no failure of its program."""
    status = pod.get("status") or {}
    conditions = status.get("conditions") or []
    targeted = any(c["type"] == "DisruptionTarget" and c.get("status") == "True" for c in conditions)
    return targeted or status.get("reason") in _DISRUPTIONS


def disruption_of(pod: Object) -> str:
    """Why the cluster ended a pod, in its words."""
    status = pod.get("status") or {}
    targets = [c for c in status.get("conditions") or [] if c["type"] == "DisruptionTarget"]
    words = [status.get("reason"), status.get("message"), *(target.get("message") for target in targets)]
    return ": ".join(word for word in words if word) or "no reason is given"


def restarted(pod: Object) -> bool:
    """True when a container of the pod ended and was started again where it is."""
    containers = (pod.get("status") or {}).get("containerStatuses") or []
    return any(ends(c) and not (c.get("state") or {}).get("terminated") for c in containers)


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


def _memory(pod: Object) -> str:
    containers = (pod.get("spec") or {}).get("containers") or []
    limits = [(container.get("resources") or {}).get("limits") or {} for container in containers]
    return next((limit["memory"] for limit in limits if "memory" in limit), "that of the node")


def _event_time(event: Object) -> str:
    return event.get("lastTimestamp") or event.get("eventTime") or ""
