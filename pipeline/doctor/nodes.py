"""Would the pods of the training job find nodes? As nodes are when nothing else runs on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from components.core.jobs.quantities import quantity
from components.core.jobs.settings import JobSettings
from pipeline.doctor.finding import Finding, Visit

_TOLERATE = """--set 'job.tolerations=[{{"key": "{key}", "operator": "Exists", "effect": "{effect}"}}]'"""


def wanted(settings: JobSettings) -> dict[str, str]:
    """What each pod of the job requests: resource -> quantity."""
    devices = {settings.gpu_resource: str(settings.gpus_per_node)} if settings.gpus_per_node else {}
    return {"cpu": settings.cpu, "memory": settings.memory, **settings.extra_resources, **devices}


def nodes(visit: Visit) -> Iterator[Finding]:
    """Nodes that fit a pod of the job, by resources, labels and taints."""
    if visit.backend == "local":
        return
    settings = visit.settings.job
    found = visit.jobs.nodes()
    asked = ", ".join(f"{name} {amount}" for name, amount in wanted(settings).items())
    reasons: dict[str, list[str]] = {}
    room = 0
    for node in found:
        name = node["metadata"]["name"]
        why = _unfit(node, settings)
        if why:
            reasons.setdefault(why, []).append(name)
        else:
            room += _pods(node, settings)
    fitting = len(found) - sum(map(len, reasons.values()))
    said = f"{fitting} of {len(found)} nodes fit a pod with {asked}"
    if room >= settings.nodes:
        yield Finding("nodes", "pass", f"{said}; room for {room} pods, {settings.nodes} wanted")
        return
    why = "; ".join(f"{reason}: {_few(names)}" for reason, names in reasons.items())
    said += f"; room for {room} pods, {settings.nodes} wanted" + (f" ({why})" if why else "")
    tainted = [node for node in found if _blocking_taint(node, settings)]
    # a queue's flavor puts tolerations and labels on the pods that it admits
    state = "warn" if settings.queue and tainted else "fail"
    yield Finding("nodes", state, said, _mend(settings, reasons, tainted))


def _mend(settings: JobSettings, reasons: Mapping[str, list[str]], tainted: list[Any]) -> str:
    if tainted:
        taint = _blocking_taint(tainted[0], settings) or {}
        return _TOLERATE.format(key=taint.get("key", ""), effect=taint.get("effect", ""))
    if any(reason == f"no {settings.gpu_resource}" for reason in reasons):
        return (
            f"install the device plugin that offers {settings.gpu_resource} (NVIDIA: "
            "https://github.com/NVIDIA/k8s-device-plugin), or name another with --set job.gpu_resource=..."
        )
    ask = "job.nodes, job.cpu, job.memory" + (", job.gpus_per_node" if settings.gpus_per_node else "")
    return f"ask for less with --set {ask}; or add nodes (one that an autoscaler would add is not seen here)"


def _unfit(node: Mapping[str, Any], settings: JobSettings) -> str:
    """Why no pod of the job fits the node; empty when one does."""
    if node.get("spec", {}).get("unschedulable"):
        return "cordoned"
    labels = node["metadata"].get("labels") or {}
    for name, value in settings.node_selector.items():
        if labels.get(name) != value:
            return f"no label {name}={value}"
    if taint := _blocking_taint(node, settings):
        value = f"={taint['value']}" if taint.get("value") else ""
        return f"taint {taint['key']}{value}:{taint['effect']} is not tolerated"
    allocatable = node["status"].get("allocatable") or {}
    for name, amount in wanted(settings).items():
        if not quantity(allocatable.get(name, "0")):
            return f"no {name}"
        if quantity(allocatable[name]) < quantity(amount):
            return f"{name} {allocatable[name]} is too little"
    return ""


def _pods(node: Mapping[str, Any], settings: JobSettings) -> int:
    allocatable = node["status"]["allocatable"]
    return min(
        int(quantity(allocatable[name]) // quantity(amount))
        for name, amount in wanted(settings).items()
        if quantity(amount)
    )


def _blocking_taint(node: Mapping[str, Any], settings: JobSettings) -> Mapping[str, Any] | None:
    """A taint that keeps the pods away. https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/"""
    for taint in node.get("spec", {}).get("taints") or []:
        if taint["effect"] == "PreferNoSchedule":
            continue
        if not any(
            t.key in (None, taint["key"])
            and (t.operator == "Exists" or (t.value or "") == (taint.get("value") or ""))
            and t.effect in (None, taint["effect"])
            for t in settings.tolerations
        ):
            return taint
    return None


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
