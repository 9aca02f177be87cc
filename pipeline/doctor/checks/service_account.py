"""The service accounts that the configuration names are there."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.doctor.finding import CheckContext, Finding
from sharpen.jobs.manifests.kinds import TRAINJOB


def check(context: CheckContext) -> Iterator[Finding]:
    """The account of the steps, and that of the training pods where one is named."""
    named = [(context.runs, context.account, "of the run's steps")]
    if job_account := context.settings.job.service_account:
        named.append((context.jobs, job_account, "job.service_account"))
    for probe, name, use in named:
        account = probe.read_object("serviceaccounts", name)
        if account is None:
            other = "or name another namespace or account: --namespace, --service-account"
            detail = f"{name} ({use}) is not in namespace {probe.namespace}"
            yield Finding("service account", "fail", detail, f"{context.apply(probe.namespace)}   ({other})")
        elif (
            use == "job.service_account"
            and context.kind is TRAINJOB
            and account.get("automountServiceAccountToken") is not False
        ):
            patch = """'{"automountServiceAccountToken": false}'"""
            remedy = f"kubectl patch serviceaccount {name} --namespace {probe.namespace} --patch {patch}"
            detail = f"{name} (job.service_account) hands its API token to training pods"
            yield Finding("service account", "warn", detail, remedy)
        else:
            yield Finding("service account", "pass", f"{name} ({use})")
