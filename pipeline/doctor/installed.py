"""Is everything installed: the API server, the namespace, Kubeflow Pipelines, the kind of job, the queue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.doctor import mends
from pipeline.doctor.finding import Finding, Visit
from sharpen.errors import SharpenError
from sharpen.jobs.api_errors import ApiError
from sharpen.jobs.connection import whence
from sharpen.jobs.kinds import KINDS, TRAINJOB

_HOME, _SERVICE, _PORT, _HEALTH = "kubeflow", "ml-pipeline", 8888, "apis/v2beta1/healthz"
_LEVEL = "pod-security.kubernetes.io/enforce"
_KUEUE = "kueue.x-k8s.io"


def api_server(visit: Visit) -> Iterator[Finding]:
    """Version of the API server, and how it was reached."""
    yield Finding("API server", "pass", f"Kubernetes {visit.runs.version()} at {visit.runs.server} ({whence()})")


def namespaces(visit: Visit) -> Iterator[Finding]:
    """The namespaces of runs and jobs, and their Pod Security."""
    for survey in visit.surveys:
        name = survey.namespace
        found = survey.namespace_object()
        if found is None:
            yield Finding("namespace", "fail", f"{name} does not exist", f"kubectl create namespace {name}")
            continue
        if (found.get("status") or {}).get("phase") == "Terminating":
            yield Finding(
                "namespace", "fail", f"{name} is being deleted", f"kubectl get namespace {name} --output yaml"
            )
            continue
        level = (found["metadata"].get("labels") or {}).get(_LEVEL, "not set")
        if level == "restricted":
            yield Finding(
                "namespace",
                "warn",
                f"{name}; Pod Security enforces restricted: Sharpen's pods pass, Kubeflow's own in a run may not",
                f"if steps are refused: kubectl label --overwrite namespace {name} {_LEVEL}=baseline",
            )
        else:
            yield Finding("namespace", "pass", f"{name}; Pod Security: {level}")


def pipelines(visit: Visit) -> Iterator[Finding]:
    """Argo's and Kubeflow Pipelines' own kinds, and the API that runs are submitted to."""
    served = visit.runs.resources("argoproj.io", "v1alpha1")
    if "workflows" in served:
        yield Finding("Argo Workflows", "pass", "argoproj.io/v1alpha1 workflows")
    else:
        yield Finding("Argo Workflows", "fail", "workflows.argoproj.io is not installed", mends.INSTALL_KFP)
    yield from _api_of_endpoint(visit) if visit.connection.endpoint else _api_of_service(visit)


def _api_of_service(visit: Visit) -> Iterator[Finding]:
    name_it = "name its address with --endpoint, or KFP_ENDPOINT"
    service = f"service {_HOME}/{_SERVICE}"
    try:
        answer = visit.runs.through_service(_HOME, _SERVICE, _PORT, _HEALTH)
    except ApiError as error:
        if error.status == 403:
            said = f"you may not ask {service} through the API server"
            yield Finding("Kubeflow Pipelines", "not checked", said, name_it)
        else:
            said = f"{service} does not answer ({error.message or error.reason})"
            mend = f"kubectl get pods --namespace {_HOME} --selector app={_SERVICE}"
            yield Finding("Kubeflow Pipelines", "fail", said, mend)
        return
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        yield _api(answer, service)
    else:
        yield Finding("Kubeflow Pipelines", "not checked", f"no {service} that answers as the API does", name_it)


def _api_of_endpoint(visit: Visit) -> Iterator[Finding]:
    """As `sharpen submit` would reach it, credentials included."""
    from pipeline.cluster.connection import connect

    try:
        api = connect(visit.connection)
    except SharpenError as error:
        forward = f"kubectl port-forward --namespace {_HOME} service/{_SERVICE} 8888:{_PORT}"
        yield Finding("Kubeflow Pipelines", "fail", str(error), f"{forward}, and --endpoint http://localhost:8888")
        return
    yield _api(api.served, api.endpoint)


def _api(answer: dict[str, Any], where: str) -> Finding:
    # the pages' server, asked in the API's stead, has names of its own
    version = str(answer.get("tag_name") or answer.get("apiServerTagName") or "unknown")
    users = "several users" if answer.get("multi_user") or answer.get("apiServerMultiUser") else "one user"
    found = f"version {version} at {where}, {users}"
    tried = mends.KFP_VERSION.rpartition(".")[0]
    if version.removeprefix("v").startswith(f"{tried}."):
        return Finding("Kubeflow Pipelines", "pass", found)
    return Finding("Kubeflow Pipelines", "warn", f"{found}; Sharpen is made for {tried}", mends.INSTALL_KFP)


def job_kinds(visit: Visit) -> Iterator[Finding]:
    """The kind of job that the settings choose must be served; the other need not."""
    for kind in KINDS:
        chosen = kind.name.lower() == visit.backend
        full = f"{kind.plural}.{kind.group}"
        served = kind.plural in visit.jobs.resources(kind.group, kind.version)
        install = mends.INSTALL_TRAINER if kind is TRAINJOB else mends.INSTALL_TRAINING_OPERATOR
        if served:
            yield Finding(kind.name, "pass", f"{full} {kind.version}" + ("" if chosen else f"; {_not_needed(visit)}"))
        elif not chosen:
            yield Finding(kind.name, "not checked", f"{full} {kind.version} is not installed; {_not_needed(visit)}")
        else:
            others = visit.jobs.groups().get(kind.group, [])
            other = f"; of {kind.group} there is {', '.join(others)}" if others else ""
            said = f"{full} {kind.version} is not served{other}"
            yield Finding(kind.name, "fail", said, install)
        if kind is TRAINJOB and chosen and served:
            yield _runtime(visit)


def _not_needed(visit: Visit) -> str:
    return f"not needed with job.backend {visit.settings.job.backend}"


def _runtime(visit: Visit) -> Finding:
    name = visit.settings.job.runtime
    if visit.jobs.cluster_object(TRAINJOB.group, TRAINJOB.version, "clustertrainingruntimes", name):
        return Finding("training runtime", "pass", f"ClusterTrainingRuntime {name}")
    said = f"there is no ClusterTrainingRuntime {name} (job.runtime)"
    add = mends.add_component("trainer-v2", visit.jobs.namespace)
    return Finding("training runtime", "fail", said, f"{add}; and --set job.runtime=sharpen-torch")


def queue(visit: Visit) -> Iterator[Finding]:
    """The LocalQueue that jobs wait in, if the settings name one."""
    name, namespace = visit.settings.job.queue, visit.jobs.namespace
    if not name:
        return
    versions = visit.jobs.groups().get(_KUEUE, [])
    add = mends.add_component("kueue", namespace)
    if not versions:
        install = "install Kueue (https://kueue.sigs.k8s.io/docs/installation), or leave job.queue empty"
        yield Finding("queue", "fail", f"Kueue is not installed, and job.queue is {name}", install)
        return
    found = visit.jobs.custom_object(_KUEUE, versions[0], "localqueues", name)
    if found is None:
        yield Finding("queue", "fail", f"there is no LocalQueue {name} in namespace {namespace}", add)
        return
    conditions = {c["type"]: c for c in (found.get("status") or {}).get("conditions") or []}
    active = conditions.get("Active")
    cluster_queue = (found.get("spec") or {}).get("clusterQueue", "")
    if active and active.get("status") == "True":
        yield Finding("queue", "pass", f"LocalQueue {name}, active, of ClusterQueue {cluster_queue}")
    else:
        why = (active or {}).get("message") or "Kueue has not looked at it yet; does its controller run?"
        mend = (
            f"kubectl describe localqueue {name} --namespace {namespace}; kubectl describe clusterqueue {cluster_queue}"
        )
        yield Finding("queue", "fail", f"LocalQueue {name} is not active: {why}", mend)
