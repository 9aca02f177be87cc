"""All checks in their order."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.cluster.settings import ConnectionSettings
from pipeline.doctor.finding import Check, Finding, Visit
from pipeline.doctor.images import images
from pipeline.doctor.installed import api_server, job_kinds, namespaces, pipelines, queue
from pipeline.doctor.job import trial
from pipeline.doctor.limits import limits
from pipeline.doctor.network import network
from pipeline.doctor.nodes import nodes
from pipeline.doctor.places import config_maps, secrets
from pipeline.doctor.pull import pull
from pipeline.doctor.rights import account_rights, accounts, my_rights
from pipeline.doctor.store import store
from pipeline.parameters import Settings
from sharpen.errors import InputError
from sharpen.jobs.api_errors import ApiError
from sharpen.jobs.cluster_probe import Survey

# What a row is called when the API does not answer it.
CHECKS: dict[str, Check] = {
    "namespace": namespaces,
    "Kubeflow Pipelines": pipelines,
    "kinds of jobs": job_kinds,
    "queue": queue,
    "service account": accounts,
    "your rights": my_rights,
    "rights of the steps": account_rights,
    "place of the store": config_maps,
    "secret": secrets,
    "store": store,
    "image": images,
    "nodes": nodes,
    "quota": limits,
    "network policies": network,
    "job": trial,
    "pods": pull,
}


def visit(
    settings: Settings,
    *,
    namespace: str = "",
    endpoint: str = "",
    account: str = "",
    image: str = "",
    launcher_image: str = "",
    pull: bool = False,
) -> Visit:
    """Go to the cluster that the kubeconfig or this pod names.

    Raises:
        InputError: no cluster is known here, or the way to Kubeflow Pipelines cannot be one.
    """
    connection = ConnectionSettings.given(endpoint=endpoint, namespace=namespace)
    runs = Survey(connection.namespace)
    elsewhere = settings.job.namespace
    jobs = Survey(elsewhere) if elsewhere and elsewhere != runs.namespace else runs
    connection = connection.model_copy(update={"namespace": runs.namespace})
    return Visit(runs, jobs, settings, account, connection, image, launcher_image, pull)


def examine(found: Visit) -> Iterator[Finding]:
    """Findings as they are made.

    Raises:
        InputError: the API server cannot be reached, or does not let one in.
    """
    try:
        yield from api_server(found)
    except ApiError as error:
        raise _no_way(found, error) from None
    for name, check in CHECKS.items():
        try:
            yield from check(found)
        except ApiError as error:
            if error.status == 401:
                raise _no_way(found, error) from None
            said = error.message or error.reason
            yield Finding(name, "not checked", f"the API server answered {error.status}: {' '.join(said.split())}")


def _no_way(found: Visit, error: ApiError) -> InputError:
    server = found.runs.server
    if error.status == 0:
        return InputError(
            f"{server}: the API server cannot be reached ({' '.join(error.message.split())}); does the cluster run, "
            "and is it the right context? kubectl config current-context"
        )
    if error.status == 401:
        return InputError(
            f"{server}: the API server does not let you in (401); renew your login, try kubectl auth whoami"
        )
    return InputError(f"{server}: this is no Kubernetes API server that works ({error})")
