"""The API client in a pod: service account, TLS, rotated tokens; and the same tests with the newest client."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sharpen import retry
from sharpen.jobs.kubernetes.client import Cluster
from sharpen.jobs.kubernetes.errors import KubernetesError, explained
from sharpen.jobs.manifests.kinds import PYTORCHJOB
from tests.sharpen.jobs.fake_api import FakeApi, Fault
from tests.sharpen.jobs.in_pod import authority, service_account

ROOT = Path(__file__).parents[3]


@pytest.fixture
def in_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with service_account(tmp_path, monkeypatch) as served:
        yield served


def test_the_service_account_of_a_pod_is_used_and_its_token_read_again(in_pod: FakeApi, tmp_path: Path) -> None:
    cluster = Cluster(first_wait=0.01)
    assert cluster.namespace == "team"
    assert cluster.pods("a=b") == []
    (tmp_path / "token").write_text("second-token")
    in_pod.tokens = {"second-token"}
    assert cluster.pods("a=b") == []


def test_an_api_that_the_authority_does_not_vouch_for_is_not_spoken_to(in_pod: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    authority(tmp_path / "other")
    (tmp_path / "ca.crt").write_bytes((tmp_path / "other" / "ca.crt").read_bytes())
    with pytest.raises(KubernetesError, match=r"(?i)certificate verify failed"):
        Cluster(patience=0.1, first_wait=0.01).pods("a=b")
    assert in_pod.calls == []


def test_patience_ends(api: FakeApi) -> None:
    api.faults.append(Fault("", "", 1000, 503, "ServiceUnavailable", "etcd has no leader"))
    with pytest.raises(KubernetesError, match="503 ServiceUnavailable: etcd has no leader"):
        Cluster(patience=0.2, first_wait=0.01).get_job(PYTORCHJOB, "x")


def test_an_api_of_a_kubeconfig_that_never_answered_is_given_up_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_CONTACT_SECONDS", 0.2)
    with FakeApi() as gone:
        monkeypatch.setenv("KUBECONFIG", str(gone.kubeconfig(tmp_path)))
    began = time.monotonic()
    with pytest.raises(KubernetesError) as caught:
        Cluster(first_wait=0.05).pods("a=b")
    assert time.monotonic() - began < 30
    assert "given up after 0:" in str(explained(caught.value, "no pods"))


def test_an_api_that_has_answered_is_waited_for(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_CONTACT_SECONDS", 0.0)
    cluster = Cluster(first_wait=0.05)
    api.faults.append(Fault("list", "pods", 4, 503, "ServiceUnavailable", "etcd has no leader"))
    assert cluster.pods("a=b") == []
    api.faults.append(Fault("list", "pods", 4, 0))
    assert cluster.pods("a=b") == []


@pytest.mark.parametrize("status", [400, 403, 404, 405, 422])
def test_what_does_not_pass_is_not_repeated(api: FakeApi, status: int) -> None:
    api.faults.append(Fault("list", "pods", 1000, status, "Reason", "no"))
    with pytest.raises(KubernetesError) as caught:
        Cluster(first_wait=0.01).pods("a=b")
    assert (caught.value.status, caught.value.message) == (status, "no")
    assert len(api.calls) == 1
    assert "no" in str(explained(caught.value, "it cannot be done"))


def test_deleting_asks_for_this_very_object(api: FakeApi) -> None:
    found = api.put("kubeflow.org", "pytorchjobs", {"metadata": {"name": "x"}, "spec": {}})
    cluster = Cluster(first_wait=0.01)
    assert not cluster.delete_job(PYTORCHJOB, "x", "another-uid")
    assert api.get("kubeflow.org", "pytorchjobs", "x")
    assert cluster.delete_job(PYTORCHJOB, "x", found["metadata"]["uid"])
    assert not cluster.delete_job(PYTORCHJOB, "x")


def test_which_client_this_is() -> None:
    """Said by the run with the newest client, which must not fall back to the one that kfp pins."""
    wanted = os.environ.get("SHARPEN_TEST_CLIENT")
    assert wanted is None or importlib.metadata.version("kubernetes") == wanted


@pytest.mark.skipif(
    not os.environ.get("SHARPEN_TEST_NEWEST"), reason="set SHARPEN_TEST_NEWEST=1, or run make test-newest-client"
)
def test_all_of_this_with_the_newest_client(tmp_path: Path) -> None:
    """Images carry the newest client, which cannot be in one environment with kfp."""
    place = tmp_path / "newest"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(place), "kubernetes"]
    if subprocess.run(install, capture_output=True).returncode:
        pytest.skip("pip finds no newer kubernetes client here")
    (found,) = importlib.metadata.distributions(name="kubernetes", path=[str(place)])
    assert int(found.version.split(".")[0]) > 30
    environment = {name: value for name, value in os.environ.items() if name != "SHARPEN_TEST_NEWEST"}
    environment |= {"PYTHONPATH": f"{place}{os.pathsep}{ROOT}", "SHARPEN_TEST_CLIENT": found.version}
    tests = [f"test_{name}.py" for name in ("cluster_client", "cleanup", "diagnosis", "submit", "watch")]
    command = [sys.executable, "-m", "pytest", *(str(Path(__file__).with_name(name)) for name in tests)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
