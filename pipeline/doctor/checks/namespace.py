"""The namespaces of runs and of jobs are there."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.doctor.finding import CheckContext, Finding


def check(context: CheckContext) -> Iterator[Finding]:
    """A finding for each namespace."""
    for probe in context.probes:
        name = probe.namespace
        there = probe.read(f"/api/v1/namespaces/{name}")
        if there is None:
            yield Finding("namespace", "fail", f"{name} does not exist", f"kubectl create namespace {name}")
        elif (there.get("status") or {}).get("phase") == "Terminating":
            look = f"kubectl get namespace {name} --output yaml"
            yield Finding("namespace", "fail", f"{name} is being deleted", look)
        else:
            yield Finding("namespace", "pass", name)
