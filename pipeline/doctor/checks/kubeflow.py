"""Argo Workflows and the API of Kubeflow Pipelines."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.doctor import remedies
from pipeline.doctor.finding import CheckContext, Finding
from pipeline.doctor.kubeflow_api import HOME

_NAME = "Kubeflow Pipelines"


def check(context: CheckContext) -> Iterator[Finding]:
    """Argo's kinds are served, and the API that runs are submitted to answers."""
    if "workflows" in context.runs.served("argoproj.io", "v1alpha1"):
        yield Finding("Argo Workflows", "pass", "argoproj.io/v1alpha1 workflows")
    else:
        yield Finding("Argo Workflows", "fail", "workflows.argoproj.io is not installed", remedies.INSTALL_KFP)
    answer = context.kubeflow
    if not answer.served:
        yield Finding(_NAME, "not checked" if answer.unknown else "fail", answer.fault, answer.remedy)
        return
    users = "several users" if answer.several_users else "one user"
    detail = f"version {answer.version} at {answer.address}, {users}"
    tested = remedies.KFP_VERSION.rpartition(".")[0]
    if answer.version.removeprefix("v").startswith(f"{tested}."):
        yield Finding(_NAME, "pass", detail)
    else:
        yield Finding(_NAME, "warn", f"{detail}; Sharpen is made for {tested}", remedies.INSTALL_KFP)
    if answer.one_user and context.runs.namespace != HOME:
        other = f"Kubeflow serves one user, so runs execute in its own namespace, not in {context.runs.namespace}"
        yield Finding("namespace of runs", "warn", other, f"--namespace {HOME}, unless Kubeflow is installed elsewhere")
