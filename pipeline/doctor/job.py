"""The training job itself, as the settings make it: the API server checks it and its pod, and keeps neither."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.doctor.finding import Finding, Visit
from sharpen.errors import InputError
from sharpen.jobs.api_errors import ApiError
from sharpen.jobs.cluster import BUILDERS
from sharpen.jobs.job import Job
from sharpen.jobs.launch_context import Surroundings
from sharpen.jobs.permissions import Permission
from sharpen.jobs.plan import make_plan
from sharpen.jobs.run import check_job

# What stands in the manifest where a run would put its own.
_RUN, _OUTPUT, _IMAGE = "sharpen-doctor", "s3://bucket/sharpen-doctor", "registry.example/not-known:0"
_PODS = Permission("", "pods", "create")


def manifest(visit: Visit) -> dict[str, Any]:
    """The job that a run with these settings makes. Raises InputError when its settings do not go together."""
    check_job(visit.settings.job)
    around = Surroundings(visit.jobs.namespace, _RUN, visit.job_image or _IMAGE)
    plan = make_plan(Job("components.finetuning", {"output": _OUTPUT}, visit.settings.job), around)
    return BUILDERS[visit.backend][1](plan)


def trial(visit: Visit) -> Iterator[Finding]:
    """Dry runs of the job and of its pod: schema, admission rules, Pod Security, quotas, limits."""
    if visit.backend == "local":
        said = "job.backend is local: training runs in the step's own pod, on one machine"
        yield Finding("job", "pass", said)
        return
    kind = BUILDERS[visit.backend][0]
    try:
        made = manifest(visit)
    except InputError as error:
        for fault in error.faults:
            yield Finding("job", "fail", fault, "correct the setting")
        return
    create = Permission(kind.group, kind.plural, "create")
    if not visit.jobs.i_may(create):
        said = f"you may not create {kind.plural}, so the API server was not asked whether it takes this one"
        yield Finding("job", "not checked", said)
    else:
        yield _tried("job", kind.name, lambda: visit.jobs.try_job(kind, made))
    if visit.backend != "pytorchjob":
        return
    if not visit.jobs.i_may(_PODS):
        said = "you may not create pods, so the API server was not asked whether it takes the job's"
        yield Finding("pod of the job", "not checked", said)
        return
    (replicas,) = made["spec"]["pytorchReplicaSpecs"].values()
    meta = {**replicas["template"]["metadata"], "name": f"{made['metadata']['name']}-0"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": replicas["template"]["spec"]}
    yield _tried("pod of the job", "pod", lambda: visit.jobs.try_pod(pod))


def _tried(check: str, what: str, call: Any) -> Finding:
    try:
        call()
    except ApiError as error:
        if error.status == 404:
            return Finding(check, "not checked", f"the API server does not know a {what}")
        said = " ".join(error.message.split()) or error.reason
        return Finding(check, "fail", f"the API server refuses the {what}: {said}", "see what it names")
    return Finding(check, "pass", f"the API server takes the {what} (dry run; nothing was made)")
