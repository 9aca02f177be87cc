"""The table of checks, run one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from pipeline.cluster.api.settings import ConnectionSettings
from pipeline.doctor.cluster_probe import ClusterProbe
from pipeline.doctor.finding import CheckContext, Finding
from pipeline.parameters import Settings
from sharpen.errors import InputError
from sharpen.jobs.kubernetes.connection import connection_source
from sharpen.jobs.kubernetes.errors import KubernetesError

# Modules of `pipeline.doctor.checks`, in the order of the report; each has a function `check`.
CHECKS = (
    "namespace",
    "kubeflow",
    "job_kind",
    "queue",
    "service_account",
    "permissions",
    "config_maps",
    "secret",
    "store",
    "dry_run",
    "events",
)


def context_for(
    settings: Settings,
    *,
    namespace: str = "",
    endpoint: str = "",
    account: str = "",
    image: str = "",
    launcher_image: str = "",
) -> CheckContext:
    """Connect to the cluster that the kubeconfig or this pod names.

    Args:
        settings: of the run.
        namespace: that runs execute in; empty: KFP_NAMESPACE, else that of the pod or the kubeconfig's context.
        endpoint: address of the Kubeflow Pipelines API; empty: KFP_ENDPOINT, else through the API server.
        account: service account of the run's steps.
        image: image of the steps; empty: not known.
        launcher_image: image of the steps that compute nothing; empty: `image`.

    Raises:
        InputError: no cluster is known here, or the endpoint is no address.
    """
    connection = ConnectionSettings.given(endpoint=endpoint, namespace=namespace)
    runs = ClusterProbe(connection.namespace)
    elsewhere = settings.job.namespace
    jobs = ClusterProbe(elsewhere) if elsewhere and elsewhere != runs.namespace else runs
    connection = connection.model_copy(update={"namespace": runs.namespace})
    return CheckContext(runs, jobs, settings, account, connection, image, launcher_image)


def run_checks(context: CheckContext) -> Iterator[Finding]:
    """Findings as they are made. A check whose question the API server refuses is reported as not checked.

    Raises:
        InputError: the API server cannot be reached, or does not let one in.
    """
    server = context.runs.server
    try:
        version = context.runs.request("GET", "/version")["gitVersion"]
        yield Finding("API server", "pass", f"Kubernetes {version} at {server} ({connection_source()})")
        for name in CHECKS:
            try:
                yield from import_module(f"pipeline.doctor.checks.{name}").check(context)
            except KubernetesError as error:
                if error.status in (0, 401):
                    raise
                said = " ".join((error.message or error.reason).split())
                title = name.replace("_", " ")
                yield Finding(title, "not checked", f"the API server answered {error.status}: {said}")
    except KubernetesError as error:
        said = " ".join(error.message.split())
        raise InputError(
            {
                0: f"{server}: the API server cannot be reached ({said}); does the cluster run, and is it the right "
                "context? kubectl config current-context",
                401: f"{server}: the API server does not let you in (401); renew your login, try kubectl auth whoami",
            }.get(error.status, f"{server}: this is no Kubernetes API server that works ({error})")
        ) from None
