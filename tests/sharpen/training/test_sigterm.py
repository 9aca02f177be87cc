"""SIGTERM in a training: all processes stop after the same step, with a checkpoint that the next start goes on from."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sharpen.errors import Interrupted
from sharpen.store import storage
from sharpen.training.processes import StopRequest
from tests.sharpen.training.test_checkpoints import assert_equal_weights, crash_at, data, run, settings, stored

__all__ = ["data"]  # the fixture

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.model


def sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def losses(facts: dict[str, Any]) -> list[tuple[int, Any, Any]]:
    return [(p["step"], p.get("loss"), p.get("eval_dev_ndcg_at_10")) for p in facts["log"] if "train_loss" not in p]


@pytest.mark.store
def test_the_run_goes_on_as_if_nothing_had_happened(
    s3: str, data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine, from the store; the log between two of its points is not lost either."""
    chosen = {"save_steps": 100, "logging_steps": 3, "checkpoint_address": f"{s3}/sigterm"}
    whole = run(data, tiny_model, tmp_path / "whole", settings(tmp_path / "one", **chosen))
    crash_at(monkeypatch, 5, sigterm)
    with pytest.raises(Interrupted) as caught:
        run(data, tiny_model, tmp_path / "first", settings(tmp_path / "two", **chosen))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert str(caught.value).startswith(
        "training was told to end (SIGTERM) after step 5 of 8; its checkpoint is written"
    )
    assert f", copied to {s3}/sigterm/" in str(caught.value)
    assert caught.value.exit_code == 143
    assert {name.split("/")[1] for name in stored(f"{s3}/sigterm")} == {"step-5"}
    monkeypatch.undo()
    again = run(data, tiny_model, tmp_path / "second", settings(tmp_path / "three", **chosen))
    assert again["queries_per_second"] and again["steps"] == 8
    assert losses(again) == losses(whole)
    assert_equal_weights(tmp_path / "second", tmp_path / "whole")


def test_an_evaluation_that_is_due_is_made_up_for(
    data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take longer than the time that is left. Stopped again and again, last before the patience ends."""
    chosen = {"eval_steps": 2, "early_stopping_patience": 2, "learning_rate": 5e-3, "max_steps": 12}
    whole = run(data, tiny_model, tmp_path / "whole", settings(tmp_path / "one", **chosen))
    assert whole["steps"] == 8, "the patience ends before the steps do"
    again = settings(tmp_path / "two", checkpoint_address=str(tmp_path / "copies"), **chosen)
    for step in (3, 4, 8):
        crash_at(monkeypatch, step, sigterm)
        with pytest.raises(Interrupted, match=f"after step {step} of 12"):
            run(data, tiny_model, tmp_path / "resumed", again)
        monkeypatch.undo()
    resumed = run(data, tiny_model, tmp_path / "resumed", again)
    assert losses(resumed) == losses(whole)
    assert (resumed["best_step"], resumed["steps"]) == (whole["best_step"], 8)
    assert_equal_weights(tmp_path / "resumed", tmp_path / "whole")


def test_the_last_step_is_followed_by_the_model(
    data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_at(monkeypatch, 8, sigterm)
    assert run(data, tiny_model, tmp_path / "out", settings(tmp_path))["steps"] == 8


@pytest.mark.parametrize("why", ["no checkpoints are wanted", "somebody else handles it", "another thread"])
def test_where_the_signal_is_left_alone(
    data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    received: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    if why != "no checkpoints are wanted":
        signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        if why == "no checkpoints are wanted":
            crash_at(monkeypatch, 3, lambda: received.append(int(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)))
            run(data, tiny_model, tmp_path / "out", settings(tmp_path, save_steps=0))
            assert received == [1]
            return
        if why == "another thread":
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            stop = StopRequest()
            thread = threading.Thread(target=lambda: stop.by_sigterm(True).__enter__())
            thread.start()
            thread.join()
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            return
        crash_at(monkeypatch, 3, sigterm)
        assert run(data, tiny_model, tmp_path / "out", settings(tmp_path))["steps"] == 8
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.store
@pytest.mark.processes
def test_two_processes_under_torchrun(s3: str, data: Path, tiny_model: Path, tmp_path: Path) -> None:
    """SIGTERM to torchrun, as a pod's end is, and the pod's disk is lost; then to one of the two processes alone."""
    output = f"{s3}/sigterm-2/model"

    def training(name: str, output: str, **values: Any) -> dict[str, Any]:
        chosen = settings(tmp_path / name, **{"max_steps": 16, "save_steps": 100, "logging_steps": 5, **values})
        addresses = {"data": str(data), "model": str(tiny_model), "output": output}
        return {**addresses, "settings": chosen.model_dump(exclude_unset=True)}

    def start(*trainings: dict[str, Any]) -> subprocess.Popen[str]:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
        command = [sys.executable, *torchrun, "-m", "tests.sharpen.training.trainings", json.dumps(trainings)]
        # as a job's pods have it: else processes that are started again read addresses of those before them
        environment = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environment
        )

    first = training("first", output)
    with start({**first, "mark": str(tmp_path / "began"), "seconds_a_step": 0.1}) as job:
        wait_for(job, lambda: (tmp_path / "began-0").exists() and (tmp_path / "began-1").exists())
        job.send_signal(signal.SIGTERM)
        printed, _ = job.communicate(timeout=600)
    assert job.returncode != 0
    assert "training was told to end (SIGTERM) after step " in printed
    (copy,) = {name.split("/")[-2] for name in stored(f"{output}-checkpoints") if name.endswith(storage.MARKER)}
    reached = int(copy.removeprefix("step-"))
    assert 1 <= reached < 16

    whole = training("whole", str(tmp_path / "whole-out"), checkpoint_address="", save_steps=0)
    # the folder of another machine
    second = training("second", output)
    with start({**second, "mark": str(tmp_path / "again"), "seconds_a_step": 0.1}, whole) as job:
        wait_for(job, lambda: (tmp_path / "again-1").exists())
        os.kill(int((tmp_path / "again-1").read_text()), signal.SIGTERM)
        printed, _ = job.communicate(timeout=600)
    assert job.returncode == 0, printed
    assert re.search(rf"going on from \S+checkpoint-{reached}$", printed, re.MULTILINE)
    assert "training was told to end (SIGTERM) after step " in printed
    assert_equal_weights(output, tmp_path / "whole-out")
    ours, theirs = (
        json.loads((Path(storage.open_artifact(o)) / "training.json").read_text()) for o in (output, whole["output"])
    )
    assert losses(ours) == losses(theirs)


def wait_for(job: subprocess.Popen[str], what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while not what():
        assert job.poll() is None, job.stdout and job.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_torchrun_waits_as_long_as_the_pod_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the variable that a job's manifest sets; without it torchrun kills its processes after 30 s."""
    api = pytest.importorskip("torch.distributed.launcher.api")
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "55")
    assert api.LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=1).shutdown_timeout == 55
