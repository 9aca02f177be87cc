"""Every secret that pods take something from has the keys that they take; values are not looked at."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.doctor.checks.config_maps import LAUNCHER_CONFIG, secret_of_provider
from pipeline.doctor.cluster_probe import ClusterProbe
from pipeline.doctor.finding import CheckContext, Finding
from pipeline.pods import STORE_KEYS, STORE_SECRET
from sharpen.errors import InputError
from sharpen.jobs.kubernetes.errors import KubernetesError

_PULL_KEY = ".dockerconfigjson"


def check(context: CheckContext) -> Iterator[Finding]:
    """The store's, those of `job.secret_env` and those that images are pulled with."""
    try:
        provider = secret_of_provider(context.runs.data("configmaps", LAUNCHER_CONFIG) or {})
    except InputError:
        provider = None
    if provider is None:
        yield Finding("secret", "pass", "none is needed for the store: rights come from the service account")
    else:
        # Kubeflow's launcher reads the one that it is given; the steps have theirs by a name that is fixed
        for name, keys in dict([provider, (STORE_SECRET, set(STORE_KEYS))]).items():
            yield _secret(context.runs, name, keys)
        if context.jobs is not context.runs:
            yield _secret(context.jobs, STORE_SECRET, set(STORE_KEYS))
    others: dict[str, set[str]] = {name: {_PULL_KEY} for name in context.settings.job.image_pull_secrets}
    for source in context.settings.job.secret_env.values():
        name, _, key = source.partition("/")
        others.setdefault(name, set()).add(key)
    for name, keys in sorted(others.items()):
        yield _secret(context.jobs, name, keys)


def _secret(probe: ClusterProbe, name: str, keys: set[str]) -> Finding:
    listed = ", ".join(sorted(keys))
    try:
        there = probe.data("secrets", name)
    except KubernetesError as error:
        if error.status != 403:
            raise
        return Finding("secret", "not checked", f"you may not look at secret {name}; pods need its keys {listed}")
    if there is not None and keys <= set(there):
        return Finding("secret", "pass", f"{name}: {listed}")
    if keys == {_PULL_KEY}:
        make = f"docker-registry {name} --docker-server=... --docker-username=... --docker-password=..."
    else:
        make = f"generic {name} " + " ".join(f"--from-literal={key}=..." for key in sorted(keys))
    remedy = f"kubectl create secret --namespace {probe.namespace} {make}"
    if there is None:
        return Finding("secret", "fail", f"there is no secret {name} in namespace {probe.namespace}", remedy)
    missing, others = ", ".join(sorted(keys - set(there))), ", ".join(sorted(there)) or "none"
    detail = f"secret {name} has no key {missing}; it has {others}"
    return Finding("secret", "fail", detail, f"{remedy} --dry-run=client --output yaml | kubectl apply -f -")
