"""A cancelled run: the job's deletion leaves at once, over TLS, from a process whose threads are all busy."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sharpen.jobs.kubernetes.prepared_delete import PreparedDelete
from tests.sharpen.jobs.conftest import put_launcher
from tests.sharpen.jobs.fake_api import Call, FakeApi, Fault
from tests.sharpen.jobs.in_pod import authority
from tests.sharpen.jobs.stories import Story

ROOT = Path(__file__).parents[3]
GOAL_SECONDS = 0.05
DELETE = Call("kubeflow.org", "pytorchjobs", "delete")


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[FakeApi]:
    """The API over TLS, with the launcher's own pod."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority(tmp_path))
    with FakeApi(tls=context) as served:
        served.kubeconfig(tmp_path)
        put_launcher(served)
        yield served


def launched(api: FakeApi, folder: Path, threads: int = 8) -> subprocess.Popen[str]:
    """A launcher that watches its job, in a process group of its own as in a container."""
    before = len(api.calls)
    environment = {**os.environ, "KUBECONFIG": str(folder / "kubeconfig"), "KFP_POD_NAME": "sharpen-x1-impl-1"}
    command = [sys.executable, "-m", "tests.sharpen.jobs.busy_launcher", str(threads)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    api.wait_for(lambda: Call("kubeflow.org", "pytorchjobs", "watch") in api.calls[before:], seconds=60)
    Story(api).pod()
    time.sleep(0.3)
    return process


def to_python_alone(process: subprocess.Popen[str]) -> None:
    """The signal as `kill PID` sends it."""
    process.send_signal(signal.SIGTERM)


def as_argo_does(process: subprocess.Popen[str]) -> None:
    """The whole group, and a tenth of a second later the container is gone."""
    os.killpg(process.pid, signal.SIGTERM)
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.processes
@pytest.mark.parametrize("end", [to_python_alone, as_argo_does])
def test_the_deletion_leaves_within_fifty_milliseconds(
    tls: FakeApi, tmp_path: Path, end: Callable[[subprocess.Popen[str]], None]
) -> None:
    """Best of three, since tests share their machine; without preparation none comes near."""
    seconds: list[float] = []
    while not seconds or (len(seconds) < 3 and min(seconds) > GOAL_SECONDS):
        process = launched(tls, tmp_path)
        uid = Story(tls).job()["metadata"]["uid"]
        before = len(tls.calls)
        began = time.monotonic()
        end(process)
        at = tls.wait_for(lambda before=before: DELETE in tls.calls[before:] and tls.calls.index(DELETE, before))
        seconds.append(tls.moments[at] - began)
        process.communicate(timeout=30)
        assert tls.all("kubeflow.org", "pytorchjobs") == [], uid
    assert min(seconds) < GOAL_SECONDS, seconds


@pytest.mark.processes
def test_a_deletion_that_is_refused_is_made_again_the_usual_way(tls: FakeApi, tmp_path: Path) -> None:
    process = launched(tls, tmp_path, threads=0)
    tls.faults.append(Fault("delete", "pytorchjobs", 1, 500))
    to_python_alone(process)
    printed, _ = process.communicate(timeout=30)
    assert tls.count("delete", "pytorchjobs") == 2
    assert tls.all("kubeflow.org", "pytorchjobs") == []
    assert "the step was told to end (SIGTERM); its job was cancelled" in printed


def test_a_token_that_was_rotated_is_read_again(tls: FakeApi, tmp_path: Path) -> None:
    """And only the very object that was created is deleted."""
    tls.put("kubeflow.org", "pytorchjobs", {"metadata": {"name": "x", "uid": "1"}, "spec": {}})
    (tmp_path / "token").write_text("second-token")
    tls.tokens = {"second-token"}
    access = {
        "host": f"https://127.0.0.1:{tls.port}",
        "ca": str(tmp_path / "ca.crt"),
        "verify": True,
        "certificate": None,
        "key": None,
        "headers": {"Authorization": "Bearer first-token"},
        "token_file": str(tmp_path / "token"),
    }
    for uid, status in (("another", 409), ("1", 200)):
        prepared = PreparedDelete(access)
        try:
            prepared.aim(
                "/apis/kubeflow.org/v1/namespaces/team/pytorchjobs/x",
                {"propagationPolicy": "Background", "preconditions": {"uid": uid}},
            )
            time.sleep(0.3)
            os.kill(prepared.pid, signal.SIGTERM)
            assert prepared.status(5) == status
        finally:
            prepared.close()
    assert tls.all("kubeflow.org", "pytorchjobs") == []


def test_without_an_aim_nothing_is_deleted(tls: FakeApi, tmp_path: Path) -> None:
    prepared = PreparedDelete({"host": f"https://127.0.0.1:{tls.port}", "token_file": "", "headers": {}, "ca": None})
    try:
        time.sleep(0.3)
        os.kill(prepared.pid, signal.SIGTERM)
        assert prepared.status(5) is None
    finally:
        prepared.close()
    assert tls.calls == []
