"""The table of checks, run one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from pipeline.cluster.api.settings import ConnectionSettings
from pipeline.doctor.cluster_probe import ClusterProbe
from pipeline.doctor.finding import CheckContext, Finding
from pipeline.doctor.kubeflow_api import HOME, ask_kubeflow
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
    "retries",
    "service_account",
    "permissions",
    "config_maps",
    "secret",
    "store_access",
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
        namespace: that runs execute in; empty: KFP_NAMESPACE, else Kubeflow's own where it serves one user, else that
            of the pod or the kubeconfig's context.
        endpoint: address of the Kubeflow Pipelines API; empty: KFP_ENDPOINT, else through the API server.
        account: service account of the run's steps.
        image: image of the steps; empty: not known.
        launcher_image: image of the steps that compute nothing; empty: `image`.

    Raises:
        InputError: no cluster is known here, it does not answer or let one in, or the endpoint is no address.
    """
    connection = ConnectionSettings.given(endpoint=endpoint, namespace=namespace)
    runs = ClusterProbe(connection.namespace)
    with _server_faults(runs.server):
        kubeflow = ask_kubeflow(connection, runs)
    if kubeflow.one_user and not connection.namespace:
        runs = ClusterProbe(HOME)
    elsewhere = settings.job.namespace
    jobs = ClusterProbe(elsewhere) if elsewhere and elsewhere != runs.namespace else runs
    return CheckContext(runs, jobs, settings, account, kubeflow, image, launcher_image)


def run_checks(context: CheckContext) -> Iterator[Finding]:
    """Findings as they are made. A check whose question the API server refuses is reported as not checked.

    Raises:
        InputError: the API server cannot be reached, or does not let one in.
    """
    server = context.runs.server
    with _server_faults(server):
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


@contextmanager
def _server_faults(server: str) -> Iterator[None]:
    """An API server that does not answer, or lets nobody in, as one line for the user."""
    try:
        yield
    except KubernetesError as error:
        said = " ".join(error.message.split())
        raise InputError(
            {
                0: f"{server}: the API server cannot be reached ({said}); does the cluster run, and is it the right "
                "context? kubectl config current-context",
                401: f"{server}: the API server does not let you in (401); renew your login, try kubectl auth whoami",
            }.get(error.status, f"{server}: this is no Kubernetes API server that works ({error})")
        ) from None
