"""A cluster that is ready, and what the doctor says of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import app
from pipeline.doctor import run_checks
from pipeline.doctor.finding import Finding
from pipeline.parameters import load
from tests.pipeline.doctor.cluster import Applied
from tests.sharpen.jobs.fake_api import FakeApi

IMAGE = "registry.example/sharpen-python-cpu@sha256:" + "1" * 64
LAUNCHER = "registry.example/sharpen-python-launcher:0.1.0"
CHECKS = run_checks.CHECKS
Examine = Callable[..., list[Finding]]
Invoke = Callable[..., Result]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """An API that knows nothing yet, as the kubeconfig names it."""
    for name in [*(name for name in os.environ if name.startswith("KFP_")), "KUBERNETES_SERVICE_HOST"]:
        monkeypatch.delenv(name, raising=False)
    with FakeApi() as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path, "kubeflow")))
        yield api


@pytest.fixture
def cluster(served: FakeApi, s3: str) -> Applied:
    """The overlay of one machine, ready, with a store that is really there."""
    return Applied(served, "kind", f"{s3}/doctor")


@pytest.fixture
def examine(cluster: Applied, monkeypatch: pytest.MonkeyPatch) -> Examine:
    """The findings of a configuration; `without` names checks that take long and are not looked at."""

    def findings(*assignments: str, without: tuple[str, ...] = (), **options: object) -> list[Finding]:
        monkeypatch.setattr(run_checks, "CHECKS", tuple(name for name in CHECKS if name not in without))
        settings = load(None, [f"store={cluster.store}", *assignments])
        given = {"account": "sharpen-pipeline", "image": IMAGE, "launcher_image": LAUNCHER, **options}
        return list(run_checks.run_checks(run_checks.context_for(settings, **given)))  # type: ignore[arg-type]

    return findings


@pytest.fixture
def sharpen(cluster: Applied) -> Invoke:
    """`sharpen doctor` with options."""

    def invoke(*options: str) -> Result:
        return CliRunner().invoke(app, ["doctor", "--set", f"store={cluster.store}", "--image", IMAGE, *options])

    return invoke


def of(findings: list[Finding], check: str) -> Finding:
    """The one finding of a check."""
    (found,) = [finding for finding in findings if finding.check == check]
    return found
