"""What cannot go well is told to the user: why, in one line, soon."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from tests.cluster.conftest import needs
from tests.cluster.live_cluster import LiveCluster, terminated
from tests.cluster.results import Figures
from tests.cluster.runs import Run, Session
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster

# a job is begun once data are prepared and negatives mined, which the first run may have to do
_BEGUN = 1800


def ended_with(run: Run, code: int, reason: str, seconds: float) -> None:
    """The command ended so, and its last word is the reason."""
    assert run.command.end(seconds) == code, run.command.text
    errors = [line.text for line in run.command.lines if line.stream == "err"]
    assert any(reason in line for line in errors), run.command.text
    assert "its log says why" not in run.command.text


def test_out_of_memory(session: Session, cluster: LiveCluster, cleanup: ExitStack, figures: Figures) -> None:
    small = ("job.memory=192Mi", "job.shm_size=32Mi")
    run = session.submit(cleanup, session.new_training(), *small, model="memory")
    run.job(_BEGUN)
    wait_for("pod without memory", lambda: terminated(cluster.training_pods(run.id), "OOMKilled"), 300, stop=run.over)
    killed = time.monotonic()
    line = run.command.line("OOMKilled", 300)
    figures.soon("told", line.at - killed, 60)
    ended_with(run, 1, "job.memory", 300)
    figures.soon("ended", run.command.ended - killed, 180)


def test_an_image_that_is_not_there(session: Session, cleanup: ExitStack, figures: Figures) -> None:
    image = "localhost/sharpen-test/not-there:1"
    run = session.submit(cleanup, session.new_training(), f"job.image={image}", model="image")
    run.job(_BEGUN)
    made = time.monotonic()
    line = run.command.line(image, 600)
    figures.soon("told", line.at - made, 120)
    ended_with(run, 1, image, 300)
    figures.soon("ended", run.command.ended - made, 240)


def test_no_node_that_is_large_enough(session: Session, cleanup: ExitStack, figures: Figures) -> None:
    large = ("job.cpu=4096", "job.pending_seconds=90")
    run = session.submit(cleanup, session.new_training(), *large, model="large")
    run.job(_BEGUN)
    made = time.monotonic()
    line = run.command.line("Insufficient cpu", 300)
    figures.soon("told", line.at - made, 60)
    ended_with(run, 1, "Insufficient cpu", 600)
    figures.soon("ended", run.command.ended - made, 240)


def test_a_quota_that_is_used_up_then_retry(
    session: Session, cluster: LiveCluster, cleanup: ExitStack, figures: Figures
) -> None:
    needs(cluster, "create resourcequotas", "delete resourcequotas")
    name = f"{session.name}-jobs"
    hard = {"count/pytorchjobs.kubeflow.org": "0", "count/trainjobs.trainer.kubeflow.org": "0"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}}
    cleanup.callback(cluster.delete, "resourcequotas", name)
    cluster.create("resourcequotas", quota)
    run = session.submit(cleanup, session.new_training(), model="quota")
    begun = run.step("finetuning", _BEGUN).at
    line = run.command.line(f"exceeded quota: {name}", 300)
    figures.soon("told", line.at - begun, 60)
    ended_with(run, 1, f"exceeded quota: {name}", 300)
    assert f"sharpen retry {run.id}" in run.command.text
    cluster.delete("resourcequotas", name)
    retried = session.sharpen("retry", run.id, "--wait")
    cleanup.callback(retried.kill)
    assert retried.end(1800) == 0, retried.text
    figures.note("retried", retried.ended - retried.started)


def test_data_that_are_not_there(session: Session, cleanup: ExitStack, figures: Figures) -> None:
    nowhere = f"{session.store}/nowhere/rows.jsonl"
    run = session.submit(cleanup, f"train_data={nowhere}", model="data")
    line = run.command.line(f"{nowhere}", 600)
    figures.soon("told", line.at - run.command.started, 120)
    ended_with(run, 2, nowhere, 300)
