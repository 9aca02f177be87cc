"""What may be done: by the person who asks, and by the account that the run's steps have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.doctor import mends
from pipeline.doctor.finding import Finding, Visit
from sharpen.jobs.api_errors import ApiError
from sharpen.jobs.cluster_probe import Survey
from sharpen.jobs.kinds import KINDS
from sharpen.jobs.permissions import LAUNCHER, STEP, Permission

_OURS = "sharpen-pipeline"
# What somebody needs who follows a run and looks at what went wrong.
_LOOKING = (
    Permission("", "pods", "list"),
    Permission("", "pods/log", "get"),
    Permission("", "events", "list"),
)


def accounts(visit: Visit) -> Iterator[Finding]:
    """The service accounts that the configuration names are there."""
    namespace = visit.runs.namespace
    if visit.runs.service_account(visit.account):
        yield Finding("service account", "pass", f"{visit.account}, of the run's steps")
    else:
        said = f"{visit.account}, of the run's steps, is not in namespace {namespace}"
        other = "or name another namespace or account: --namespace, --service-account"
        yield Finding("service account", "fail", said, f"{mends.apply(namespace)}   ({other})")
    name = visit.settings.job.service_account
    if not name:
        return
    found = visit.jobs.service_account(name)
    if found is None:
        said = f"{name} (job.service_account) is not in namespace {visit.jobs.namespace}"
        yield Finding("service account", "fail", said, mends.apply(visit.jobs.namespace))
    elif visit.backend == "trainjob" and found.get("automountServiceAccountToken") is not False:
        said = f"{name} (job.service_account) hands its API token to training pods"
        patch = """'{"automountServiceAccountToken": false}'"""
        mend = f"kubectl patch serviceaccount {name} --namespace {visit.jobs.namespace} --patch {patch}"
        yield Finding("service account", "warn", said, mend)
    else:
        yield Finding("service account", "pass", f"{name}, of the training pods")


def my_rights(visit: Visit) -> Iterator[Finding]:
    """Runs are submitted to Kubeflow Pipelines; only to look at pods does a person need rights of their own."""
    wanted = [*_looking_at_jobs(visit), *_LOOKING]
    missing = [permission for permission in wanted if not visit.jobs.i_may(permission)]
    if missing:
        said = f"you may not {_told(missing)}: what a run's pods do is not seen with kubectl"
        mend = f"ask for the role view or kubeflow-view in namespace {visit.jobs.namespace}"
        yield Finding("your rights", "warn", said, mend)
    else:
        yield Finding("your rights", "pass", "jobs, pods, their logs and events may be read")


def account_rights(visit: Visit) -> Iterator[Finding]:
    """Every call that a launching step and Kubeflow's own part of a step make with the run's account."""
    account, home = visit.account, visit.runs.namespace
    try:
        yield _step_rights(visit.runs, account)
        if visit.backend != "local":
            yield _launcher_rights(visit, account, home)
            if visit.jobs is not visit.runs:
                yield _own_pod(visit.runs, account)
        if visit.runs.account_may(account, Permission("", "secrets", "get")):
            said = f"{account} may read every secret of namespace {home}; {_OURS} reads only the store's"
            yield Finding("rights to secrets", "warn", said, f"submit with --service-account {_OURS}")
    except ApiError as error:
        if error.status != 403:
            raise
        said = f"you may not ask what {account} may do (SubjectAccessReview); its role is not known"
        ask = "an administrator can run this check"
        yield Finding("rights of the steps", "warn", said, ask)


def _launcher_rights(visit: Visit, account: str, home: str) -> Finding:
    namespace = visit.jobs.namespace
    other = {kind.group for kind in KINDS if kind.name.lower() != visit.backend}
    wanted = sorted(permission for permission in LAUNCHER if permission.group not in other)
    missing = [p for p in wanted if not visit.jobs.account_may(account, p, home=home)]
    where = f" in namespace {namespace}" if namespace != home else ""
    if not missing:
        said = f"{account} may start, follow and delete {visit.backend}s{where}"
        return Finding("rights of the launcher", "pass", said)
    trainjobs = visit.backend == "trainjob" and any(p.group for p in missing)
    if account == _OURS and home == namespace:
        mend = mends.add_component("trainer-v2", namespace) if trainjobs else mends.apply(namespace)
    else:
        mend = mends.bind("sharpen-launcher-trainjobs" if trainjobs else "sharpen-launcher", account, namespace, home)
    return Finding("rights of the launcher", "fail", f"{account} may not {_told(missing)}{where}", mend)


def _own_pod(survey: Survey, account: str) -> Finding:
    """With its job elsewhere, a launching step still reads its own pod: its image, and the run that it is of."""
    home = survey.namespace
    if survey.account_may(account, Permission("", "pods", "get")):
        return Finding("rights to the own pod", "pass", f"{account} may get pods in namespace {home}")
    mend = mends.apply(home) if account == _OURS else mends.bind("sharpen-launcher", account, home, home)
    return Finding("rights to the own pod", "fail", f"{account} may not get pods in namespace {home}", mend)


def _step_rights(survey: Survey, account: str) -> Finding:
    missing = [permission for permission, name in STEP.items() if not survey.account_may(account, permission, name)]
    if not missing:
        return Finding("rights of the steps", "pass", f"{account} may do what Kubeflow Pipelines does with it")
    home = survey.namespace
    mend = mends.apply(home) if account == _OURS else mends.bind("sharpen-step", account, home, home)
    return Finding("rights of the steps", "fail", f"{account} may not {_told(missing)}", mend)


def _looking_at_jobs(visit: Visit) -> Iterator[Permission]:
    for kind in KINDS:
        if kind.name.lower() == visit.backend:
            yield Permission(kind.group, kind.plural, "get")
            yield Permission(kind.group, kind.plural, "list")


def _told(permissions: Iterable[Permission]) -> str:
    return ", ".join(f"{p.verb} {p.resource}{f'.{p.group}' if p.group else ''}" for p in permissions)
