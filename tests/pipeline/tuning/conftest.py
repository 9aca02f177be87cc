"""The `sharpen` command against the fake Kubeflow Pipelines API, and a store for its trials."""

from __future__ import annotations

import uuid

import pytest

from pipeline.tuning import trial_runs
from tests.pipeline.cluster.conftest import on, quick, sharpen  # noqa: F401


@pytest.fixture
def root(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Root address of a registry of its own; trials are looked at without pauses."""
    monkeypatch.setattr(trial_runs, "POLL_SECONDS", 0.01)
    return f"{s3}/{uuid.uuid4().hex}"
