"""The way to a Kubeflow Pipelines API: address, credentials, and whom it serves."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cluster.api.client import Api
from pipeline.cluster.api.errors import KfpError
from pipeline.cluster.api.login import cookies_for
from pipeline.cluster.api.settings import ConnectionSettings
from sharpen.errors import InputError, StepFailed

if TYPE_CHECKING:
    from kfp_server_api import ApiClient

IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
# who waits for a first answer wants to know soon that there is none
HEALTH_PATIENCE_SECONDS = 5.0
# Kubeflow's PodDefault mounts a token for the API here; kfp's client reads the same place and variable.
POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
POD_TOKEN_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105 - a variable's name
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def connect(settings: ConnectionSettings) -> Api:
    """A client of the API that has been answered once.

    Raises:
        InputError: no endpoint is known, it cannot be reached or does not let us in, or a namespace is missing.
        StepFailed: the server cannot answer now.
    """
    endpoint = settings.endpoint or (IN_CLUSTER if "KUBERNETES_SERVICE_HOST" in os.environ else "")
    if not endpoint:
        raise InputError(
            "no Kubeflow Pipelines endpoint is known: run `kubectl port-forward -n kubeflow svc/ml-pipeline-ui "
            "8080:80` and give --endpoint http://localhost:8080, or set KFP_ENDPOINT"
        )
    if settings.ca_cert and not Path(settings.ca_cert).is_file():
        raise InputError(f"--ca-cert {settings.ca_cert}: no such file")
    client = _client(endpoint, settings)
    source = settings.proofs[0] if settings.proofs else ""
    if not source and client.configuration.refresh_api_key_hook:
        source = "the pod's service account"
    api = Api(
        client,
        endpoint=endpoint,
        ui=settings.ui,
        credential_source=source,
        sign_in=_sign_in(endpoint, settings),
    )
    with api.patience(HEALTH_PATIENCE_SECONDS):
        served = api.served = _health(api)
    if served.get("apiServerReady") is False:
        raise StepFailed(f"{endpoint}: Kubeflow's pages answer, but its API is not ready; try again in a minute")
    # the pages' server answers this call itself, and has used both names
    if served.get("multi_user") or served.get("apiServerMultiUser"):
        api.namespace = settings.namespace or _pod_namespace()
        if not api.namespace:
            raise InputError(f"{endpoint} serves several users: name your namespace with --namespace or KFP_NAMESPACE")
    return api


def _health(api: Api) -> dict[str, Any]:
    try:
        return api.call("ask whether the API is well", api.health.healthz_service_get_healthz)
    except KfpError as fault:
        if fault.status == 404:
            raise InputError(
                f"{api.endpoint}: no Kubeflow Pipelines API there (404); behind a gateway it is often below /pipeline"
            ) from None
        raise


def _client(endpoint: str, settings: ConnectionSettings) -> ApiClient:
    from kfp_server_api import ApiClient, Configuration

    configuration = Configuration(host=endpoint)
    if settings.ca_cert:
        configuration.ssl_ca_cert = settings.ca_cert  # type: ignore[assignment]
    # Repeating is done where it is known which calls may be repeated; a redirect is a login page or a wrong address.
    configuration.retries = False  # type: ignore[assignment]
    if token := settings.token.get_secret_value():
        if not token.isprintable() or " " in token:
            raise InputError("KFP_TOKEN: not a token; it must be one word")
        configuration.api_key["authorization"] = token
    elif settings.token_file:
        _read_for_every_call(configuration, settings.token_file)
    elif not settings.proofs and (POD_TOKEN_VARIABLE in os.environ or POD_TOKEN.is_file()):
        _read_for_every_call(configuration, os.environ.get(POD_TOKEN_VARIABLE) or str(POD_TOKEN))
    configuration.api_key_prefix["authorization"] = "Bearer"
    return ApiClient(configuration, cookie=settings.cookies.get_secret_value() or None)


def _read_for_every_call(configuration: Any, path: str) -> None:
    """A pod's token is renewed in its file while the pod lives."""
    from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

    if not Path(path).is_file():
        raise InputError(f"{path}: no token there; in a pod mount one for the audience pipelines.kubeflow.org")
    configuration.api_key["authorization"] = "read for every call"
    configuration.refresh_api_key_hook = ServiceAccountTokenVolumeCredentials(path).refresh_api_key_hook


def _sign_in(endpoint: str, settings: ConnectionSettings) -> Any:
    if not settings.username:
        return None

    def sign_in() -> str:
        return cookies_for(
            endpoint,
            settings.username,
            settings.password.get_secret_value(),
            connector=settings.dex_connector,
            ca_cert=settings.ca_cert,
        )

    return sign_in


def _pod_namespace() -> str:
    with suppress(OSError):
        return POD_NAMESPACE.read_text(encoding="utf-8").strip()
    return ""
