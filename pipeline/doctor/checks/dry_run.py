"""Server-side dry runs of the objects that a run would create: the training job, its pod, the pods of the steps.

The API server applies what it would apply to the real ones (schema, admission rules, Pod Security, quotas, limits,
priority classes, accounts) and stores nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pipeline.doctor.finding import CheckContext, Finding
from pipeline.images import check_job_image, chosen
from pipeline.pods import LABELS
from pipeline.resources import ResourceRequest, resource_requests
from sharpen.errors import InputError
from sharpen.jobs.cluster_backend import BUILDERS
from sharpen.jobs.job import Job
from sharpen.jobs.kubernetes.errors import KubernetesError
from sharpen.jobs.kubernetes.permissions import Permission
from sharpen.jobs.launch_context import LaunchContext
from sharpen.jobs.manifests import pod as pods
from sharpen.jobs.manifests.kinds import PYTORCHJOB
from sharpen.jobs.manifests.pod_spec_inputs import make_pod_spec_inputs
from sharpen.jobs.run import check_job

# What stands in a manifest where a run would put its own.
_RUN, _OUTPUT, _IMAGE = "sharpen-doctor", "s3://bucket/sharpen-doctor", "registry.example/not-known:0"


def check(context: CheckContext) -> Iterator[Finding]:
    """A finding for the job, one for its pod, and one for the pods of the steps."""
    job = context.settings.job
    try:
        chosen(context.image, context.launcher_image)
        check_job_image(job.image)
        # auto means the local backend where the doctor runs, and the job's kind where the run does
        check_job(job.model_copy(update={"backend": context.kind.name.lower()}) if context.kind else job)
        made = job_manifest(context) if context.kind else None
    except InputError as error:
        for fault in error.faults:
            yield Finding("job", "fail", fault, "correct the setting")
        return
    if context.kind and made:
        yield _tried(context, "job", context.kind.plural, made, context.kind.api_version)
        if context.kind is PYTORCHJOB:
            (replicas,) = made["spec"]["pytorchReplicaSpecs"].values()
            template = replicas["template"]
            meta = {**template["metadata"], "name": f"{made['metadata']['name']}-0"}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}
            yield _tried(context, "pod of the job", "pods", pod)
    steps: dict[str, tuple[ResourceRequest, list[str]]] = {}
    for step, needs in resource_requests(context.settings.pods, job).items():
        steps.setdefault(f"{needs.cpu} {needs.memory} {needs.gpus}", (needs, []))[1].append(step)
    findings = [
        _tried(context, "pods of steps", "pods", step_pod(context, needs), names=", ".join(names))
        for needs, names in steps.values()
    ]
    # what refuses one usually refuses all of them, in the same words but for its resources
    yield from [finding for finding in dict.fromkeys(findings) if finding.state != "pass"] or findings[:1]


def job_manifest(context: CheckContext) -> dict[str, Any]:
    """The job that a run with these settings creates. Raises InputError when its settings do not go together."""
    job = context.settings.job
    around = LaunchContext(context.jobs.namespace, _RUN, job.image or context.image or _IMAGE)
    plan = make_pod_spec_inputs(Job("components.finetuning", {"output": _OUTPUT}, job), around)
    build: Callable[..., dict[str, Any]] = BUILDERS[context.kind.name.lower()][1]  # type: ignore[union-attr]
    return build(plan)


def step_pod(context: CheckContext, needs: ResourceRequest) -> dict[str, Any]:
    """The pod of a step as `pipeline.pods` asks for it, without what Argo adds."""
    gpus = {context.settings.job.gpu_resource: str(needs.gpus)} if needs.gpus else {}
    memory = {"memory": needs.memory} if needs.memory else {}
    requests = {**({"cpu": needs.cpu} if needs.cpu else {}), **memory, **gpus}
    container = {
        "name": "main",
        "image": context.image or _IMAGE,
        "resources": {"requests": requests, "limits": {**memory, **gpus}},
        "securityContext": pods.container_security(),
    }
    tolerations = [{"key": name, "operator": "Exists", "effect": "NoSchedule"} for name in gpus]
    spec = {
        "serviceAccountName": context.account,
        "restartPolicy": "Never",
        "securityContext": pods.pod_security(),
        "containers": [container],
        **({"tolerations": tolerations} if tolerations else {}),
    }
    meta = {"name": "sharpen-doctor-step", "namespace": context.runs.namespace, "labels": LABELS}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _tried(
    context: CheckContext, title: str, resource: str, manifest: dict[str, Any], api: str = "", names: str = ""
) -> Finding:
    probe = context.runs if names else context.jobs
    if not probe.allowed(Permission(api.partition("/")[0], resource, "create")):
        detail = f"you may not create {resource} in namespace {probe.namespace}, so the API server was not asked"
        return Finding(title, "not checked", detail)
    try:
        probe.dry_run(resource, manifest, api)
    except KubernetesError as error:
        if error.status == 404:
            return Finding(title, "not checked", f"the API server does not know {resource} of {probe.namespace}")
        said = " ".join((error.message or error.reason).split())
        of = f" of {names}" if names else ""
        return Finding(title, "fail", f"the API server refuses the {manifest['kind']}{of}: {said}", "see what it names")
    return Finding(title, "pass", "the API server takes them (dry run; nothing was made)")
