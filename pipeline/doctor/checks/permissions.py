"""What the API's authorizer allows: the person who asks, and the account that the run's steps have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.doctor import remedies
from pipeline.doctor.cluster_probe import ClusterProbe
from pipeline.doctor.finding import CheckContext, Finding
from sharpen.jobs.kubernetes.errors import KubernetesError
from sharpen.jobs.kubernetes.permissions import LAUNCHER, STEP, Permission
from sharpen.jobs.manifests.kinds import KINDS, TRAINJOB, Kind

_OURS = "sharpen-pipeline"
# What somebody needs who follows a run and looks at what went wrong; submitting needs no rights in Kubernetes.
_LOOKING = (Permission("", "pods", "list"), Permission("", "pods/log", "get"), Permission("", "events", "list"))


def check(context: CheckContext) -> Iterator[Finding]:
    """Access reviews for every call that a person, a launching step and Kubeflow's part of a step make."""
    kind, runs, account = context.kind, context.runs, context.account
    looking = [*(Permission(kind.group, kind.plural, verb) for verb in ("get", "list") if kind), *_LOOKING]
    missing = [permission for permission in looking if not context.jobs.allowed(permission)]
    if missing:
        detail = f"you may not {_listed(missing)}: what a run's pods do is not seen with kubectl"
        remedy = f"ask for the role view or kubeflow-view in namespace {context.jobs.namespace}"
        yield Finding("your rights", "warn", detail, remedy)
    else:
        yield Finding("your rights", "pass", "jobs, pods, their logs and events may be read")
    try:
        lacking = [p for p, name in STEP.items() if not runs.allowed(p, name, account=account)]
        yield _finding("rights of the steps", "sharpen-step", runs, context, lacking)
        if kind:
            yield _launcher(context, kind)
            if context.jobs is not runs:
                # with its job elsewhere, a launching step still reads its own pod: its image and its run
                own_pod = Permission("", "pods", "get")
                lacking = [] if runs.allowed(own_pod, account=account) else [own_pod]
                yield _finding("rights to its own pod", "sharpen-launcher", runs, context, lacking)
        if runs.allowed(Permission("", "secrets", "get"), account=account):
            detail = f"{account} may read every secret of namespace {runs.namespace}; {_OURS} reads only the store's"
            yield Finding("rights to secrets", "warn", detail, f"submit with --service-account {_OURS}")
    except KubernetesError as error:
        if error.status != 403:
            raise
        detail = f"you may not ask what {account} may do (SubjectAccessReview); its role is not known"
        yield Finding("rights of the steps", "warn", detail, "an administrator can run this check")


def _launcher(context: CheckContext, kind: Kind) -> Finding:
    home, jobs = context.runs.namespace, context.jobs
    other = {each.group for each in KINDS if each is not kind}
    calls = sorted(permission for permission in LAUNCHER if permission.group not in other)
    lacking = [call for call in calls if not jobs.allowed(call, account=context.account, home=home)]
    trainjobs = kind is TRAINJOB and any(permission.group for permission in lacking)
    role = "sharpen-launcher-trainjobs" if trainjobs else "sharpen-launcher"
    return _finding("rights of the launcher", role, jobs, context, lacking)


def _finding(
    title: str, role: str, probe: ClusterProbe, context: CheckContext, lacking: Iterable[Permission]
) -> Finding:
    account, home = context.account, context.runs.namespace
    if not lacking:
        return Finding(title, "pass", f"{account} may do all of it in namespace {probe.namespace}")
    remedy = remedies.bind(role, account, probe.namespace, home)
    if account == _OURS and home == probe.namespace:
        trainer = role.endswith("-trainjobs")
        remedy = remedies.add_component("trainer-v2", home) if trainer else context.apply(home)
    return Finding(title, "fail", f"{account} may not {_listed(lacking)} in namespace {probe.namespace}", remedy)


def _listed(permissions: Iterable[Permission]) -> str:
    return ", ".join(f"{p.verb} {p.resource}{f'.{p.group}' if p.group else ''}" for p in permissions)
