"""A cancelled run: the job's deletion leaves at once, over TLS, from a process whose threads are all busy."""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from sharpen.jobs.kubernetes.prepared_delete import PreparedDelete
from tests.sharpen.jobs.conftest import put_launcher
from tests.sharpen.jobs.fake_api import Call, FakeApi, Fault
from tests.sharpen.jobs.in_pod import authority

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


def is_ready(process: int) -> bool:
    """Whether a process has a handler for SIGTERM."""
    (caught,) = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{process}/status").read_text())
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


@contextmanager
def launched(api: FakeApi, folder: Path, threads: int = 4) -> Iterator[subprocess.Popen[str]]:
    """A launcher that watches its job, in a process group of its own as in a container."""
    before, busy = len(api.calls), folder / "busy"
    busy.unlink(missing_ok=True)
    environment = {**os.environ, "KUBECONFIG": str(folder / "kubeconfig"), "KFP_POD_NAME": "sharpen-x1-impl-1"}
    command = [sys.executable, "-m", "tests.sharpen.jobs.busy_launcher", str(threads), str(busy)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        api.wait_for(lambda: Call("kubeflow.org", "pytorchjobs", "watch") in api.calls[before:], seconds=60)
        (helper,) = psutil.Process(process.pid).children()
        api.wait_for(lambda: is_ready(helper.pid))
        busy.touch()
        time.sleep(0.5)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


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
    """The best of a few, since tests share their machine; without preparation none comes near."""
    seconds: list[float] = []
    while not seconds or (len(seconds) < 6 and min(seconds) > GOAL_SECONDS):
        with launched(tls, tmp_path) as process:
            before = len(tls.calls)
            began = time.monotonic()
            end(process)
            at = tls.wait_for(lambda before=before: DELETE in tls.calls[before:] and tls.calls.index(DELETE, before))
            seconds.append(tls.moments[at] - began)
            assert tls.all("kubeflow.org", "pytorchjobs") == []
    assert min(seconds) < GOAL_SECONDS, seconds


@pytest.mark.processes
def test_a_deletion_that_is_refused_is_made_again_the_usual_way(tls: FakeApi, tmp_path: Path) -> None:
    with launched(tls, tmp_path, threads=0) as process:
        tls.faults.append(Fault("delete", "pytorchjobs", 1, 500))
        to_python_alone(process)
        printed, _ = process.communicate(timeout=30)
    assert tls.count("delete", "pytorchjobs") == 2
    assert tls.all("kubeflow.org", "pytorchjobs") == []
    assert "its job was cancelled" in printed


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
            tls.wait_for(lambda pid=prepared.pid: is_ready(pid))
            os.kill(prepared.pid, signal.SIGTERM)
            assert prepared.status(20) == status
        finally:
            prepared.close()
    assert tls.all("kubeflow.org", "pytorchjobs") == []


def test_without_an_aim_nothing_is_deleted(tls: FakeApi, tmp_path: Path) -> None:
    prepared = PreparedDelete({"host": f"https://127.0.0.1:{tls.port}", "token_file": "", "headers": {}, "ca": None})
    try:
        tls.wait_for(lambda: is_ready(prepared.pid))
        os.kill(prepared.pid, signal.SIGTERM)
        assert prepared.status(20) is None
    finally:
        prepared.close()
    assert tls.calls == []
