"""The LocalQueue that jobs wait in; a job of a queue that does not exist would wait for ever."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.doctor import remedies
from pipeline.doctor.finding import CheckContext, Finding

_KUEUE = "kueue.x-k8s.io"


def check(context: CheckContext) -> Iterator[Finding]:
    """The queue of `job.queue` exists and is active; nothing where the settings name none."""
    name, jobs = context.settings.job.queue, context.jobs
    if not name:
        return
    versions = jobs.versions(_KUEUE)
    if not versions:
        install = "install Kueue (https://kueue.sigs.k8s.io/docs/installation), or leave job.queue empty"
        yield Finding("queue", "fail", f"Kueue is not installed, and job.queue is {name}", install)
        return
    queue = jobs.read_object("localqueues", name, f"{_KUEUE}/{versions[0]}")
    if queue is None:
        add = remedies.add_component("kueue", jobs.namespace)
        yield Finding("queue", "fail", f"there is no LocalQueue {name} in namespace {jobs.namespace}", add)
        return
    conditions = (queue.get("status") or {}).get("conditions") or []
    active = next((condition for condition in conditions if condition["type"] == "Active"), {})
    of = (queue.get("spec") or {}).get("clusterQueue", "")
    if active.get("status") == "True":
        yield Finding("queue", "pass", f"LocalQueue {name}, active, of ClusterQueue {of}")
    else:
        why = active.get("message") or "Kueue has not looked at it yet; does its controller run?"
        look = f"kubectl describe localqueue {name} --namespace {jobs.namespace}; kubectl describe clusterqueue {of}"
        yield Finding("queue", "fail", f"LocalQueue {name} is not active: {why}", look)
