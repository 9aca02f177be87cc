"""Would quotas, limits and priorities of the namespace stop the training job, or the steps that compute?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from pipeline.doctor.finding import Finding, Visit
from pipeline.doctor.wanted import Pods, wanted
from sharpen.jobs.kinds import KINDS
from sharpen.jobs.quantities import quantity

# short for
_SAME = {"cpu": "requests.cpu", "memory": "requests.memory"}


def limits(visit: Visit) -> Iterator[Finding]:
    """ResourceQuotas, LimitRanges and the PriorityClass."""
    for pods in wanted(visit):
        yield from _room(visit, pods)
    name = visit.settings.job.priority_class
    if not name or visit.backend == "local":
        return
    if visit.jobs.priority_class(name):
        yield Finding("priority class", "pass", name)
    else:
        said = f"there is no PriorityClass {name} (job.priority_class)"
        yield Finding("priority class", "fail", said, "kubectl get priorityclasses, and --set job.priority_class=...")


def _room(visit: Visit, pods: Pods) -> Iterator[Finding]:
    ranges = [limit for found in pods.survey.limit_ranges() for limit in found["spec"].get("limits") or []]
    faults = [*_over_limits(pods, ranges)]
    quotas = [quota for quota in pods.survey.quotas() if not _scoped(quota)]
    needs = _needs(visit, pods)
    for quota in quotas:
        faults += _over_quota(pods, needs, quota, ranges)
    yield from faults
    if not faults:
        said = f"{len(quotas)} quotas and {len(ranges)} limits of namespace {pods.survey.namespace} leave room"
        yield Finding(f"quota{pods.of}", "pass", said)


def _scoped(quota: Mapping[str, Any]) -> bool:
    # counts only some pods, which ones the cluster decides
    return bool(quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"))


def _over_quota(
    pods: Pods, needs: Mapping[str, Decimal], quota: Mapping[str, Any], ranges: list[Any]
) -> Iterator[Finding]:
    name, check = quota["metadata"]["name"], f"quota{pods.of}"
    hard = quota["spec"].get("hard") or {}
    used = (quota.get("status") or {}).get("used") or {}
    less = ", ".join(dict.fromkeys(pods.settings[resource] for resource in pods.resources))
    if pods.count > 1:
        less = f"job.nodes, {less}"
    mend = (
        f"ask for less (--set {less}), wait for others to end, or: kubectl edit resourcequota {name} "
        f"--namespace {pods.survey.namespace}"
    )
    if "limits.cpu" in hard and not _defaulted(ranges, "cpu"):
        said = f"{name} counts limits.cpu, which {pods.who} do not name, so it refuses them"
        yield Finding(check, "fail", said, "give the namespace a LimitRange with default.cpu, or drop limits.cpu")
    for resource, most in hard.items():
        need = needs.get(str(_SAME.get(resource, resource)))
        if need is None:
            continue
        asked = f"{pods.count} pods need {_shown(need)}"
        if need > quantity(most):
            yield Finding(check, "fail", f"{name} allows {resource} {most}, {asked}", mend)
        elif need + quantity(used.get(resource, "0")) > quantity(most):
            said = f"{name} allows {resource} {most}, {used[resource]} are used, {asked}"
            yield Finding(check, "warn", said, mend)


def _needs(visit: Visit, pods: Pods) -> dict[str, Decimal]:
    needs = {f"requests.{name}": quantity(amount) * pods.count for name, amount in pods.resources.items()}
    needs["limits.memory"] = needs["requests.memory"]
    needs["pods"] = needs["count/pods"] = Decimal(pods.count)
    for kind in KINDS:
        if kind.name.lower() == visit.backend and not pods.of:
            needs[f"count/{kind.plural}.{kind.group}"] = Decimal(1)
    return needs


def _over_limits(pods: Pods, ranges: list[Any]) -> Iterator[Finding]:
    for limit in ranges:
        if limit.get("type") not in ("Container", "Pod"):
            continue
        for resource, most in (limit.get("max") or {}).items():
            amount = pods.resources.get(resource)
            if amount and quantity(amount) > quantity(most):
                said = f"a {limit['type'].lower()} may have {resource} {most}, {pods.who} want {amount}"
                mend = f"--set {pods.settings[resource]}={most}, or raise the LimitRange"
                if resource not in ("cpu", "memory"):
                    mend = f"ask for less with --set {pods.settings[resource]}=..., or raise the LimitRange"
                yield Finding(f"limits{pods.of}", "fail", said, mend)


def _defaulted(ranges: list[Any], resource: str) -> bool:
    return any(limit.get("type") == "Container" and resource in (limit.get("default") or {}) for limit in ranges)


def _shown(amount: Decimal) -> str:
    return f"{amount / 2**30:.1f}Gi" if amount >= 2**30 else f"{amount.normalize():f}"
