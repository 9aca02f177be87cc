"""Would network policies cut training pods, or steps, off from DNS, the store, or each other?

Only what can be told from the policies is judged: which ports are open, and whether the pods of the job may talk with
each other. Which machine an address belongs to, and whether the network plugin heeds policies at all, is not known.
https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pipeline.doctor import mends
from pipeline.doctor.finding import Finding, Visit
from pipeline.pods import STORE_CONFIG
from sharpen.jobs.api_errors import ApiError
from sharpen.jobs.cluster_probe import Survey
from sharpen.jobs.plan import APP_LABEL

Labels = Mapping[str, str]
Policies = list[Mapping[str, Any]]


def network(visit: Visit) -> Iterator[Finding]:
    """DNS, the store, and each other."""
    port = _port_of_store(visit)
    if visit.backend != "local":
        yield _reach("network policies", "training", visit.jobs, port, among=visit.settings.job.nodes > 1)
    yield _reach("network policies of steps", "step", visit.runs, port)


def _reach(check: str, component: str, survey: Survey, port: int | None, *, among: bool = False) -> Finding:
    """What the pods with this label can reach; `among`: they must reach each other."""
    labels = {APP_LABEL: "sharpen", "app.kubernetes.io/component": component}
    found = survey.network_policies()
    ours = [policy["spec"] for policy in found if _selects(policy["spec"].get("podSelector") or {}, labels)]
    if not ours:
        return Finding(check, "pass", f"none of {len(found)} chooses {component} pods; they may call anybody")
    cut = []
    if not _open(ours, "Egress", "UDP", 53, labels):
        cut.append("DNS (UDP 53)")
    if port and not _open(ours, "Egress", "TCP", port, labels):
        cut.append(f"the store (TCP {port})")
    if among and not all(_among(ours, way, labels) for way in ("Egress", "Ingress")):
        cut.append("each other")
    names = ", ".join(sorted(policy["metadata"]["name"] for policy in found if policy["spec"] in ours))
    if cut:
        said = f"{names}: {component} pods cannot reach {' nor '.join(cut)}"
        return Finding(check, "fail", said, mends.apply(survey.namespace))
    return Finding(check, "pass", f"{names}: {component} pods reach what they need")


def _rules(policies: Policies, way: str) -> list[Mapping[str, Any]] | None:
    """All rules in a direction; None when none of the policies is about it, so that everything is allowed."""
    about = [policy for policy in policies if way in _types(policy)]
    return [rule for policy in about for rule in policy.get(way.lower()) or []] if about else None


def _types(policy: Mapping[str, Any]) -> list[str]:
    return policy.get("policyTypes") or ["Ingress", *(["Egress"] if policy.get("egress") else [])]


def _open(policies: Policies, way: str, protocol: str, port: int, own: Labels) -> bool:
    rules = _rules(policies, way)
    return rules is None or any(_has_port(rule, protocol, port) and _is_for_others(rule, own) for rule in rules)


def _is_for_others(rule: Mapping[str, Any], own: Labels) -> bool:
    """True unless the rule is about the pods with our own labels only."""
    peers = rule.get("to")
    return not peers or any(not peer.get("podSelector") or not _is_own(peer, own) for peer in peers)


def _port_of_store(visit: Visit) -> int | None:
    """The port that a policy sees: behind a service of the cluster that of its pods. None: it cannot be told."""
    endpoint = urlsplit((visit.runs.config_map(STORE_CONFIG) or {}).get("AWS_ENDPOINT_URL_S3", ""))
    port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
    service, _, rest = (endpoint.hostname or "").partition(".")
    namespace = rest.removesuffix(".svc.cluster.local").removesuffix(".svc")
    if not service or "." in namespace:
        return port
    try:
        found = visit.jobs.service(namespace or visit.runs.namespace, service)
    except ApiError:
        return None
    if found is None:
        return port
    targets = [each.get("targetPort", port) for each in found["spec"].get("ports") or [] if each["port"] == port]
    return targets[0] if targets and isinstance(targets[0], int) else None


def _has_port(rule: Mapping[str, Any], protocol: str, port: int) -> bool:
    ports = rule.get("ports")
    if not ports:
        return True
    for each in ports:
        named = each.get("port")
        if each.get("protocol", "TCP") != protocol:
            continue
        # a name stands for a port of the other pod
        if not isinstance(named, int) or named <= port <= each.get("endPort", named):
            return True
    return False


def _among(policies: Policies, way: str, own: Labels) -> bool:
    rules = _rules(policies, way)
    side = "to" if way == "Egress" else "from"
    return rules is None or any(
        not rule.get("ports") and (not rule.get(side) or any(_is_own(peer, own) for peer in rule[side]))
        for rule in rules
    )


def _is_own(peer: Mapping[str, Any], own: Labels) -> bool:
    if "ipBlock" in peer or peer.get("namespaceSelector"):
        return False
    return _selects(peer.get("podSelector") or {}, own)


def _selects(selector: Mapping[str, Any], labels: Labels) -> bool:
    for name, value in (selector.get("matchLabels") or {}).items():
        if labels.get(name) != value:
            return False
    for rule in selector.get("matchExpressions") or []:
        there = labels.get(rule["key"])
        holds = {
            "In": there in (rule.get("values") or []),
            "NotIn": there not in (rule.get("values") or []),
            "Exists": there is not None,
            "DoesNotExist": there is None,
        }
        if not holds[rule["operator"]]:
            return False
    return True
