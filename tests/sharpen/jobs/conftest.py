"""A pod of a pipeline's run, as far as the launcher can see: environment, own pod, kubeconfig, API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sharpen.jobs.kubernetes import logs
from sharpen.jobs.kubernetes.log_archive import LogArchive
from sharpen.jobs.kubernetes.permissions import LAUNCHER, Permission
from tests.sharpen.jobs.fake_api import FakeApi
from tests.sharpen.jobs.stories import IMAGE, RUN

OWNER = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Workflow",
    "name": "sharpen-x1",
    "uid": "w-1",
    "controller": True,
}


def put_launcher(api: FakeApi) -> str:
    """The launcher's own pod; its name."""
    meta = {"name": "sharpen-x1-impl-1", "labels": {"pipeline/runid": RUN}, "ownerReferences": [OWNER]}
    containers = [{"name": "wait", "image": "argoexec"}, {"name": "main", "image": IMAGE}]
    api.put("", "pods", {"metadata": meta, "spec": {"containers": containers}, "status": {"phase": "Running"}})
    return meta["name"]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """The API, with the launcher's own pod; at the end every call that was made must be one of the role's."""
    for name in ("SHARPEN_RUN", "KFP_RUN_ID", "SHARPEN_OUTCOME", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(logs, "WAIT_SECONDS", 0.02)
    monkeypatch.setattr(logs, "LONGEST_WAIT", 0.1)
    monkeypatch.setattr(logs, "QUIET_SECONDS", 0.5)
    save = LogArchive._save
    made_up = "s3://bucket/"
    monkeypatch.setattr(
        LogArchive, "_save", lambda self, logs: None if self.address.startswith(made_up) else save(self, logs)
    )
    with FakeApi() as served:
        monkeypatch.setenv("KUBECONFIG", str(served.kubeconfig(tmp_path)))
        monkeypatch.setenv("KFP_POD_NAME", put_launcher(served))
        yield served
        assert {Permission(*call) for call in served.calls} <= LAUNCHER


@pytest.fixture
def token_file(api: FakeApi, tmp_path: Path) -> Path:
    """The file that the launcher's token is read from."""
    return tmp_path / "token"
