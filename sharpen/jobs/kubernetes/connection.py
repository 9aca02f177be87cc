"""Connecting to the Kubernetes API: as a pod's service account, else as the kubeconfig says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sharpen.errors import InputError

_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


def in_cluster() -> bool:
    """True in a pod that has a token for the API."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and _TOKEN.is_file()


def connect() -> Any:
    """A client of the API, with the token as it is now.

    Raises:
        InputError: neither in a pod nor a usable kubeconfig.
    """
    import yaml
    from kubernetes import client, config

    settings = client.Configuration()
    try:
        if in_cluster():
            config.load_incluster_config(client_configuration=settings)
        else:
            config.load_kube_config(config_file=_kubeconfig(), client_configuration=settings)
    except (config.ConfigException, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"job.backend: no cluster to run on ({why}); run in a pod, name a KUBECONFIG, or use backend local"
        ) from None
    # Repeating is done here, where it is known which calls may be repeated and for how long.
    settings.retries = False  # type: ignore[assignment]
    return client.ApiClient(settings)


def access(api: Any) -> dict[str, Any] | None:
    """How to reach the API without its client: address, authority, credentials; None: only through a proxy.

    Args:
        api: what `connect` gave.
    """
    settings = api.configuration
    if settings.proxy or getattr(settings, "tls_server_name", None):
        return None
    bearer = settings.auth_settings().get("BearerToken")
    return {
        "host": settings.host,
        "ca": settings.ssl_ca_cert,
        "verify": settings.verify_ssl,
        "certificate": settings.cert_file,
        "key": settings.key_file,
        "headers": {"Authorization": bearer["value"]} if bearer else {},
        # a pod's token is replaced from time to time
        "token_file": str(_TOKEN) if in_cluster() else "",
    }


def own_namespace() -> str:
    """The namespace of the pod, or of the kubeconfig's context."""
    if in_cluster():
        return (_TOKEN.parent / "namespace").read_text(encoding="utf-8").strip()
    from kubernetes import config

    _, active = config.list_kube_config_contexts(config_file=_kubeconfig())
    return active["context"].get("namespace") or "default"


def connection_source() -> str:
    """Where the connection comes from, in words: the kubeconfig's context, or the pod's account."""
    if in_cluster():
        return "the pod's service account"
    from kubernetes import config

    _, active = config.list_kube_config_contexts(config_file=_kubeconfig())
    return f"context {active['name']}"


def _kubeconfig() -> str:
    return os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or str(Path("~/.kube/config").expanduser())
