"""Would the pods of the training job and of the steps find nodes? As nodes are when nothing else runs on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.doctor.finding import Finding, Visit
from pipeline.doctor.wanted import Pods, wanted
from sharpen.jobs.quantities import quantity

_TOLERATE = """--set 'job.tolerations=[{{"key": "{key}", "operator": "Exists", "effect": "{effect}"}}]'"""


def nodes(visit: Visit) -> Iterator[Finding]:
    """Nodes that fit the pods of the job and of the steps, by resources, labels and taints."""
    found = visit.runs.nodes()
    for pods in wanted(visit):
        yield _fitting(visit, pods, found)


def _fitting(visit: Visit, pods: Pods, found: list[Any]) -> Finding:
    check = f"nodes{pods.of}"
    asked = ", ".join(f"{name} {amount}" for name, amount in pods.resources.items())
    reasons: dict[str, list[str]] = {}
    room = 0
    for node in found:
        name = node["metadata"]["name"]
        why = _unfit(node, pods)
        if why:
            reasons.setdefault(why, []).append(name)
        else:
            room += _room(node, pods)
    fitting = len(found) - sum(map(len, reasons.values()))
    said = f"{fitting} of {len(found)} nodes fit a pod with {asked}; room for {room} pods, {pods.count} wanted"
    if room >= pods.count:
        return Finding(check, "pass", said)
    why = "; ".join(f"{reason}: {_few(names)}" for reason, names in reasons.items())
    said += f" ({why})" if why else ""
    tainted = [node for node in found if _blocking_taint(node, pods)]
    job = visit.backend != "local" and not pods.of
    # a queue's flavor puts tolerations and labels on the pods that it admits
    state = "warn" if job and visit.settings.job.queue and tainted else "fail"
    return Finding(check, state, said, _mend(pods, reasons, tainted, job=job))


def _mend(pods: Pods, reasons: Mapping[str, list[str]], tainted: list[Any], *, job: bool) -> str:
    if tainted:
        taint = _blocking_taint(tainted[0], pods) or {}
        key, effect = taint.get("key", ""), taint.get("effect", "")
        if job:
            return _TOLERATE.format(key=key, effect=effect)
        return f"the pods of steps cannot be given more tolerations: kubectl taint nodes NODE {key}:{effect}-"
    for resource, setting in pods.settings.items():
        if setting.endswith(("gpus", "gpus_per_node")) and f"no {resource}" in reasons:
            return (
                f"install the device plugin that offers {resource} (NVIDIA: "
                "https://github.com/NVIDIA/k8s-device-plugin), or name another with --set job.gpu_resource=..."
            )
    ask = ", ".join([*(["job.nodes"] if job else []), *(pods.settings[name] for name in pods.resources)])
    return f"ask for less with --set {ask}; or add nodes (one that an autoscaler would add is not seen here)"


def _unfit(node: Mapping[str, Any], pods: Pods) -> str:
    """Why no such pod fits the node; empty when one does."""
    if node.get("spec", {}).get("unschedulable"):
        return "cordoned"
    labels = node["metadata"].get("labels") or {}
    for name, value in pods.node_selector.items():
        if labels.get(name) != value:
            return f"no label {name}={value}"
    for name in pods.topology:
        if name not in labels:
            return f"no label {name}"
    if taint := _blocking_taint(node, pods):
        value = f"={taint['value']}" if taint.get("value") else ""
        return f"taint {taint['key']}{value}:{taint['effect']} is not tolerated"
    allocatable = node["status"].get("allocatable") or {}
    for name, amount in pods.resources.items():
        if not quantity(allocatable.get(name, "0")):
            return f"no {name}"
        if quantity(allocatable[name]) < quantity(amount):
            return f"{name} {allocatable[name]} is too little"
    return ""


def _room(node: Mapping[str, Any], pods: Pods) -> int:
    allocatable = node["status"]["allocatable"]
    return min(
        int(quantity(allocatable[name]) // quantity(amount))
        for name, amount in pods.resources.items()
        if quantity(amount)
    )


def _blocking_taint(node: Mapping[str, Any], pods: Pods) -> Mapping[str, Any] | None:
    """A taint that keeps the pods away. https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/"""
    for taint in node.get("spec", {}).get("taints") or []:
        if taint["effect"] == "PreferNoSchedule":
            continue
        if not any(
            t.key in (None, taint["key"])
            and (t.operator == "Exists" or (t.value or "") == (taint.get("value") or ""))
            and t.effect in (None, taint["effect"])
            for t in pods.tolerations
        ):
            return taint
    return None


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
