"""The store in the cluster lets in pods of the namespaces of runs and jobs: a network policy of it may not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pipeline.doctor.cluster_probe import ClusterProbe
from pipeline.doctor.finding import CheckContext, Finding
from pipeline.doctor.kubeflow_api import HOME
from pipeline.pods import STORE_CONFIG
from sharpen.jobs.kubernetes.client import Object
from sharpen.jobs.kubernetes.errors import KubernetesError

# What the network policy of Kubeflow's own SeaweedFS asks of other namespaces.
PROFILE_LABEL, PROFILE = "app.kubernetes.io/part-of", "kubeflow-profile"
_ENDPOINT = "AWS_ENDPOINT_URL_S3"


def check(context: CheckContext) -> Iterator[Finding]:
    """A finding for each namespace other than the store's; nothing where the store is outside the cluster."""
    for probe in context.probes:
        host = urlsplit((probe.data("configmaps", STORE_CONFIG) or {}).get(_ENDPOINT, "")).hostname or ""
        service, home, *domain = [*host.split("."), ""]
        if home and home != probe.namespace and domain[0] in ("", "svc"):
            yield from _way(probe, service, home)


def _way(probe: ClusterProbe, service: str, home: str) -> Iterator[Finding]:
    """Whether a namespace's pods reach the service of another one; nothing if there is no such service."""
    title, name = "way to the store", f"network policies of {service}.{home}"
    labels = _labels(probe.read(f"/api/v1/namespaces/{probe.namespace}"))
    try:
        called = probe.read(f"/api/v1/namespaces/{home}/services/{service}")
        if called is None:
            return
        policies = probe.request("GET", f"/apis/networking.k8s.io/v1/namespaces/{home}/networkpolicies")["items"]
        let_in = lets_in(policies, called["spec"].get("selector") or {}, labels)
    except KubernetesError as error:
        if error.status != 403:
            raise
        if home != HOME:
            yield Finding(title, "not checked", f"you may not look at the {name}")
            return
        # Kubeflow's own are known
        let_in = labels.get(PROFILE_LABEL) == PROFILE
    if let_in:
        yield Finding(title, "pass", f"the {name} let in namespace {probe.namespace}")
        return
    remedy = f"kubectl label namespace {probe.namespace} {PROFILE_LABEL}={PROFILE}"
    if home != HOME:
        remedy = f"let namespace {probe.namespace} in: kubectl get networkpolicies --namespace {home} --output yaml"
    yield Finding(title, "warn", f"the {name} keep out pods of namespace {probe.namespace}", remedy)


def lets_in(policies: list[Object], pods: Mapping[str, str], namespace: Mapping[str, str]) -> bool:
    """True if pods of another namespace may call these pods, by the rules of network policies; ports are not looked at.

    Args:
        policies: of the called pods' namespace.
        pods: labels of the called pods.
        namespace: labels of the callers' namespace.
    """
    ingress = [
        policy["spec"]
        for policy in policies
        if "Ingress" in (policy["spec"].get("policyTypes") or ["Ingress"])
        and matches(policy["spec"].get("podSelector") or {}, pods)
    ]
    if not ingress:
        return True
    return any(_allows(rule, namespace) for spec in ingress for rule in spec.get("ingress") or [])


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """True if a label selector of Kubernetes selects these labels."""
    if any(labels.get(name) != value for name, value in (selector.get("matchLabels") or {}).items()):
        return False
    for expression in selector.get("matchExpressions") or []:
        there, value = expression["key"] in labels, labels.get(expression["key"])
        values = expression.get("values") or []
        held = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": there,
            "DoesNotExist": not there,
        }[expression["operator"]]
        if not held:
            return False
    return True


def _allows(rule: Mapping[str, Any], namespace: Mapping[str, str]) -> bool:
    peers = rule.get("from") or []
    # a peer without a selector of namespaces means the policy's own; of addresses nothing is known here
    return not peers or any(
        "ipBlock" in peer or ("namespaceSelector" in peer and matches(peer["namespaceSelector"] or {}, namespace))
        for peer in peers
    )


def _labels(found: Object | None) -> dict[str, str]:
    return ((found or {}).get("metadata") or {}).get("labels") or {}
