"""Argo Workflows and the API of Kubeflow Pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.doctor import remedies
from pipeline.doctor.finding import CheckContext, Finding
from sharpen.errors import SharpenError
from sharpen.jobs.kubernetes.errors import KubernetesError

_HOME, _SERVICE, _PORT = "kubeflow", "ml-pipeline", 8888
_HEALTH = f"/api/v1/namespaces/{_HOME}/services/{_SERVICE}:{_PORT}/proxy/apis/v2beta1/healthz"
_NAME = "Kubeflow Pipelines"


def check(context: CheckContext) -> Iterator[Finding]:
    """Argo's kinds are served, and the API that runs are submitted to answers."""
    if "workflows" in context.runs.served("argoproj.io", "v1alpha1"):
        yield Finding("Argo Workflows", "pass", "argoproj.io/v1alpha1 workflows")
    else:
        yield Finding("Argo Workflows", "fail", "workflows.argoproj.io is not installed", remedies.INSTALL_KFP)
    yield _at_endpoint(context) if context.connection.endpoint else _through_api_server(context)


def _through_api_server(context: CheckContext) -> Finding:
    name_it = "name its address with --endpoint, or KFP_ENDPOINT"
    service = f"service {_HOME}/{_SERVICE}"
    try:
        answer = context.runs.read(_HEALTH)
    except KubernetesError as error:
        if error.status == 403:
            said = f"you may not ask {service} through the API server"
            return Finding(_NAME, "not checked", said, name_it)
        said = f"{service} does not answer ({error.message or error.reason})"
        return Finding(_NAME, "fail", said, f"kubectl get pods --namespace {_HOME} --selector app={_SERVICE}")
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        return _version(answer, service)
    return Finding(_NAME, "not checked", f"no {service} that answers as the API does", name_it)


def _at_endpoint(context: CheckContext) -> Finding:
    """As `sharpen submit` would reach it, credentials included."""
    from pipeline.cluster.api.connection import connect

    try:
        api = connect(context.connection)
    except SharpenError as error:
        forward = f"kubectl port-forward --namespace {_HOME} service/{_SERVICE} 8888:{_PORT}"
        return Finding(_NAME, "fail", str(error), f"{forward}, and --endpoint http://localhost:8888")
    return _version(api.served, api.endpoint)


def _version(answer: dict[str, Any], address: str) -> Finding:
    # the pages' server, asked in the API's stead, has names of its own
    version = str(answer.get("tag_name") or answer.get("apiServerTagName") or "unknown")
    users = "several users" if answer.get("multi_user") or answer.get("apiServerMultiUser") else "one user"
    detail = f"version {version} at {address}, {users}"
    tested = remedies.KFP_VERSION.rpartition(".")[0]
    if version.removeprefix("v").startswith(f"{tested}."):
        return Finding(_NAME, "pass", detail)
    return Finding(_NAME, "warn", f"{detail}; Sharpen is made for {tested}", remedies.INSTALL_KFP)
