"""What the namespace holds for runs: ConfigMaps that say where the store is; secrets, whose values are not read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import yaml

from pipeline.doctor import mends
from pipeline.doctor.finding import Finding, Visit
from pipeline.pods import STORE_CONFIG, STORE_KEYS, STORE_PLACES, STORE_SECRET
from sharpen.errors import InputError
from sharpen.jobs.api_errors import ApiError
from sharpen.jobs.cluster_probe import Survey

_LAUNCHER_CONFIG = "kfp-launcher"
_PULL_KEY = ".dockerconfigjson"


def config_maps(visit: Visit) -> Iterator[Finding]:
    """What tells Kubeflow's launcher and our steps where the store is."""
    mend = mends.apply(visit.runs.namespace)
    launcher = visit.runs.config_map(_LAUNCHER_CONFIG)
    if launcher is None:
        said = f"there is no ConfigMap {_LAUNCHER_CONFIG}: artifacts go to Kubeflow's default place"
        yield Finding("artifacts", "warn", said, mend)
    else:
        root = launcher.get("defaultPipelineRoot") or "Kubeflow's default place"
        try:
            _secret_of_provider(launcher)
            yield Finding("artifacts", "pass", f"ConfigMap {_LAUNCHER_CONFIG}: {root}")
        except InputError as error:
            yield Finding("artifacts", "fail", f"ConfigMap {_LAUNCHER_CONFIG}: {error}", mend)
    # the pods of a job take it, by its name, from the namespace that they are in
    for survey in visit.surveys:
        ours = survey.config_map(STORE_CONFIG)
        if ours is None:
            missing = f"no ConfigMap {STORE_CONFIG} in namespace {survey.namespace}"
            said = f"{missing}: pods there do not know where the store is"
            yield Finding("place of the store", "fail", said, mends.apply(survey.namespace))
        else:
            places = ", ".join(f"{name}={ours[name]}" for name in STORE_PLACES if name in ours)
            said = f"ConfigMap {STORE_CONFIG}: {places or 'Amazon, its default region'}"
            yield Finding("place of the store", "pass", said)


def secrets(visit: Visit) -> Iterator[Finding]:
    """Every secret that pods take something from has the keys that they take."""
    try:
        named = _secret_of_provider(visit.runs.config_map(_LAUNCHER_CONFIG) or {})
    except InputError:
        named = None
    if named is None:
        yield Finding("secret", "pass", "none is needed for the store: rights come from the service account")
    else:
        # Kubeflow's launcher reads the one that it is told; the steps have theirs by a name that is fixed
        for name, keys in dict([named, (STORE_SECRET, set(STORE_KEYS))]).items():
            yield _secret(visit.runs, name, keys)
        if visit.jobs is not visit.runs:
            yield _secret(visit.jobs, STORE_SECRET, set(STORE_KEYS))
    others: dict[str, set[str]] = {}
    for source in visit.settings.job.secret_env.values():
        name, _, key = source.partition("/")
        others.setdefault(name, set()).add(key)
    others |= {name: {_PULL_KEY} for name in visit.settings.job.image_pull_secrets}
    for name, keys in sorted(others.items()):
        yield _secret(visit.jobs, name, keys)


def _secret(survey: Survey, name: str, keys: set[str]) -> Finding:
    namespace = survey.namespace
    try:
        there = survey.secret_keys(name)
    except ApiError as error:
        if error.status != 403:
            raise
        said = f"you may not look at secret {name}; pods need its keys {', '.join(sorted(keys))}"
        return Finding("secret", "not checked", said)
    if there is None:
        return Finding(
            "secret", "fail", f"there is no secret {name} in namespace {namespace}", _make(name, namespace, keys)
        )
    if missing := sorted(keys - set(there)):
        said = f"secret {name} has no key {', '.join(missing)}; it has {', '.join(there) or 'none'}"
        patch = json.dumps({"stringData": dict.fromkeys(missing, "...")})
        return Finding("secret", "fail", said, f"kubectl patch secret {name} --namespace {namespace} --patch '{patch}'")
    return Finding("secret", "pass", f"{name}: {', '.join(sorted(keys))}")


def _make(name: str, namespace: str, keys: set[str]) -> str:
    if keys == {_PULL_KEY}:
        rest = "--docker-server=... --docker-username=... --docker-password=..."
        return f"kubectl create secret docker-registry {name} --namespace {namespace} {rest}"
    rest = " ".join(f"--from-literal={key}=..." for key in sorted(keys))
    return f"kubectl create secret generic {name} --namespace {namespace} {rest}"


def _secret_of_provider(launcher: dict[str, str]) -> tuple[str, set[str]] | None:
    """The secret and the keys that Kubeflow's launcher reads for its default place; None: rights need no secret.

    Raises:
        InputError: the provider's settings cannot be read, or say nothing of credentials, which the launcher refuses.
    """
    usual = (STORE_SECRET, set(STORE_KEYS))
    scheme = urlsplit(launcher.get("defaultPipelineRoot") or "minio://").scheme
    try:
        providers: Any = yaml.safe_load(launcher.get("providers") or "{}") or {}
    except yaml.YAMLError:
        raise InputError("providers is not valid YAML") from None
    if not isinstance(providers, dict) or not isinstance(providers.get(scheme, {}), dict):
        raise InputError("providers must map s3, minio or gs to settings")
    if scheme not in providers:
        return usual if scheme == "minio" else None
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
