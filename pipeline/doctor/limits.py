"""Would quotas, limits and priorities of the namespace stop the training job?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from components.core.jobs.kinds import KINDS
from components.core.jobs.quantities import quantity
from components.core.jobs.settings import JobSettings
from pipeline.doctor.finding import Finding, Visit
from pipeline.doctor.nodes import wanted

_RAISE = "ask for less (--set job.nodes, job.cpu, job.memory), wait for others to end, or: kubectl edit resourcequota"

# short for
_SAME = {"cpu": "requests.cpu", "memory": "requests.memory"}


def limits(visit: Visit) -> Iterator[Finding]:
    """ResourceQuotas, LimitRanges and the PriorityClass."""
    if visit.backend == "local":
        return
    ranges = [limit for found in visit.jobs.limit_ranges() for limit in found["spec"].get("limits") or []]
    faults = [*_over_limits(visit.settings.job, ranges)]
    quotas = [quota for quota in visit.jobs.quotas() if not _scoped(quota)]
    for quota in quotas:
        faults += _over_quota(visit, quota, ranges)
    yield from faults
    if not faults:
        said = f"{len(quotas)} quotas and {len(ranges)} limits of namespace {visit.jobs.namespace} leave room"
        yield Finding("quota", "pass", said)
    name = visit.settings.job.priority_class
    if not name:
        return
    if visit.jobs.priority_class(name):
        yield Finding("priority class", "pass", name)
    else:
        said = f"there is no PriorityClass {name} (job.priority_class)"
        yield Finding("priority class", "fail", said, "kubectl get priorityclasses, and --set job.priority_class=...")


def _scoped(quota: Mapping[str, Any]) -> bool:
    # counts only some pods, which ones the cluster decides
    return bool(quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"))


def _over_quota(visit: Visit, quota: Mapping[str, Any], ranges: list[Any]) -> Iterator[Finding]:
    name, settings = quota["metadata"]["name"], visit.settings.job
    hard = quota["spec"].get("hard") or {}
    used = (quota.get("status") or {}).get("used") or {}
    needs = _needs(visit)
    mend = f"{_RAISE} {name} --namespace {visit.jobs.namespace}"
    if "limits.cpu" in hard and not _defaulted(ranges, "cpu"):
        said = f"{name} counts limits.cpu, which training pods do not name, so it refuses them"
        yield Finding("quota", "fail", said, "give the namespace a LimitRange with default.cpu, or drop limits.cpu")
    for resource, most in hard.items():
        need = needs.get(str(_SAME.get(resource, resource)))
        if need is None:
            continue
        asked = f"{settings.nodes} pods need {_shown(need)}"
        if need > quantity(most):
            yield Finding("quota", "fail", f"{name} allows {resource} {most}, {asked}", mend)
        elif need + quantity(used.get(resource, "0")) > quantity(most):
            said = f"{name} allows {resource} {most}, {used[resource]} are used, {asked}"
            yield Finding("quota", "warn", said, mend)


def _needs(visit: Visit) -> dict[str, Decimal]:
    settings = visit.settings.job
    needs = {f"requests.{name}": quantity(amount) * settings.nodes for name, amount in wanted(settings).items()}
    needs["limits.memory"] = needs["requests.memory"]
    needs["pods"] = needs["count/pods"] = Decimal(settings.nodes)
    for kind in KINDS:
        if kind.name.lower() == visit.backend:
            needs[f"count/{kind.plural}.{kind.group}"] = Decimal(1)
    return needs


def _over_limits(settings: JobSettings, ranges: list[Any]) -> Iterator[Finding]:
    for limit in ranges:
        if limit.get("type") not in ("Container", "Pod"):
            continue
        for resource, most in (limit.get("max") or {}).items():
            amount = wanted(settings).get(resource)
            if amount and quantity(amount) > quantity(most):
                said = f"a {limit['type'].lower()} may have {resource} {most}, the job's pods want {amount}"
                mend = f"--set job.{resource}={most}, or raise the LimitRange" if resource in ("cpu", "memory") else ""
                yield Finding("limits", "fail", said, mend or "ask for less, or raise the LimitRange")


def _defaulted(ranges: list[Any], resource: str) -> bool:
    return any(limit.get("type") == "Container" and resource in (limit.get("default") or {}) for limit in ranges)


def _shown(amount: Decimal) -> str:
    return f"{amount / 2**30:.1f}Gi" if amount >= 2**30 else f"{amount.normalize():f}"
