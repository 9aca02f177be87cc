"""The ConfigMaps that tell Kubeflow's launcher and the steps where the store is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import yaml

from pipeline.doctor.finding import CheckContext, Finding
from pipeline.pods import STORE_CONFIG, STORE_KEYS, STORE_PLACES, STORE_SECRET
from sharpen.errors import InputError

LAUNCHER_CONFIG = "kfp-launcher"


def check(context: CheckContext) -> Iterator[Finding]:
    """Kubeflow's own, of the runs' namespace, and ours, which pods take from the namespace that they are in."""
    remedy = context.apply(context.runs.namespace)
    launcher = context.runs.data("configmaps", LAUNCHER_CONFIG)
    if launcher is None:
        detail = f"there is no ConfigMap {LAUNCHER_CONFIG}: artifacts go where Kubeflow puts them by default"
        yield Finding("artifacts", "warn", detail, remedy)
    else:
        try:
            secret_of_provider(launcher)
        except InputError as error:
            yield Finding("artifacts", "fail", f"ConfigMap {LAUNCHER_CONFIG}: {error}", remedy)
        else:
            root = launcher.get("defaultPipelineRoot") or "Kubeflow's default"
            yield Finding("artifacts", "pass", f"ConfigMap {LAUNCHER_CONFIG}: {root}")
    for probe in context.probes:
        ours = probe.data("configmaps", STORE_CONFIG)
        if ours is None:
            missing = f"no ConfigMap {STORE_CONFIG} in namespace {probe.namespace}"
            detail = f"{missing}: pods there do not know where the store is"
            yield Finding("store's address", "fail", detail, context.apply(probe.namespace))
        else:
            listed = ", ".join(f"{name}={ours[name]}" for name in STORE_PLACES if name in ours)
            yield Finding("store's address", "pass", f"ConfigMap {STORE_CONFIG}: {listed or 'Amazon S3'}")


def secret_of_provider(launcher: dict[str, str]) -> tuple[str, set[str]] | None:
    """The secret and the keys in it that Kubeflow's launcher reads; None: rights need no secret.

    Raises:
        InputError: the provider's settings cannot be read, or say nothing of credentials, which the launcher refuses.
    """
    scheme = urlsplit(launcher.get("defaultPipelineRoot") or "minio://").scheme
    try:
        providers: Any = yaml.safe_load(launcher.get("providers") or "{}") or {}
    except yaml.YAMLError:
        raise InputError("providers is not valid YAML") from None
    if not isinstance(providers, dict) or not isinstance(providers.get(scheme, {}), dict):
        raise InputError("providers must map s3, minio or gs to settings")
    if scheme not in providers:
        return (STORE_SECRET, set(STORE_KEYS)) if scheme == "minio" else None
    credentials = (providers[scheme].get("default") or {}).get("credentials") or {}
    if credentials.get("fromEnv"):
        return None
    reference = credentials.get("secretRef") or {}
    parts = [reference.get(part) for part in ("secretName", "accessKeyKey", "secretKeyKey")]
    if not all(parts):
        raise InputError(
            f"providers.{scheme}.default.credentials needs fromEnv: true, or a secretRef with secretName, accessKeyKey "
            "and secretKeyKey"
        )
    return str(parts[0]), {str(part) for part in parts[1:]}
