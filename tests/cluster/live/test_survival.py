"""What goes away while a run goes on: the run itself, a worker, the launcher, the store, Kubeflow's API."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from tests.cluster.conftest import needs
from tests.cluster.live_cluster import LiveCluster, Object, node_name, running
from tests.cluster.results import Figures
from tests.cluster.runs import Session
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster

_BEGUN, _TRAINED = 1800, 1200
# that something happens in mid-training on a fast machine too
_LONG = "training.max_steps=200"
AWAY_SECONDS = 60


def test_cancel(session: Session, cluster: LiveCluster, cleanup: ExitStack, figures: Figures) -> None:
    run = session.submit(cleanup, session.new_training(), _LONG, model="cancelled")
    run.trained(2, _BEGUN)
    asked = time.monotonic()
    cancel = session.sharpen("cancel", run.id)
    assert cancel.end(60) == 0, cancel.text

    def gone() -> bool:
        return cluster.job_of_run(run.id) is None and not cluster.training_pods(run.id)

    wait_for("end of job and pods", gone, 180)
    figures.soon("job and pods gone", time.monotonic() - asked, 30)
    assert run.command.end(300) == 4, run.command.text
    assert "cancelled" in run.command.text
    figures.soon("told", run.command.ended - asked, 120)
    status = session.sharpen("status", run.id)
    status.end(60)
    assert "cancelled" in status.text


def test_a_worker_is_killed(session: Session, cluster: LiveCluster, cleanup: ExitStack, figures: Figures) -> None:
    needs(cluster, "delete pods")
    run = session.submit(cleanup, session.new_training(), _LONG, "job.nodes=2", model="worker")
    kind, job = run.job(_BEGUN)
    workers = run.training_pods(2, 900)
    run.trained(8, _TRAINED)
    victim = next(pod for pod in workers if not kind.is_first(pod))["metadata"]
    cluster.delete("pods", victim["name"], at_once=True)
    killed = time.monotonic()
    run.training_pods(2, 300, but={victim["uid"]})
    figures.soon("new worker", time.monotonic() - killed, 60)
    step = run.resumed(600)
    figures.soon("trains on", time.monotonic() - killed, 180)
    figures.note("from step", step, "steps")
    assert run.command.end(_TRAINED) == 0, run.command.text
    assert run.job(10)[1]["metadata"]["uid"] == job["metadata"]["uid"]


def test_the_launcher_is_killed(session: Session, cluster: LiveCluster, cleanup: ExitStack, figures: Figures) -> None:
    needs(cluster, "delete pods")
    run = session.submit(cleanup, session.new_training(), _LONG, model="launcher")
    _, job = run.job(_BEGUN)
    run.trained(4, _TRAINED)
    launchers = [pod for pod in cluster.step_pods(run.id, "finetuning") if running(pod)]
    assert len(launchers) == 1, [node_name(pod) for pod in launchers]
    cluster.delete("pods", launchers[0]["metadata"]["name"], at_once=True)
    killed = time.monotonic()

    def another() -> list[Object]:
        found = cluster.step_pods(run.id, "finetuning")
        return [pod for pod in found if running(pod) and pod["metadata"]["uid"] != launchers[0]["metadata"]["uid"]]

    wait_for("second launcher", another, 600, stop=run.over)
    figures.soon("second launcher", time.monotonic() - killed, 180)
    assert run.job(10)[1]["metadata"]["uid"] == job["metadata"]["uid"]
    assert run.command.end(_TRAINED) == 0, run.command.text


@pytest.mark.usefixtures("disruptive")
def test_the_store_is_away_for_a_minute(
    session: Session, cluster: LiveCluster, cleanup: ExitStack, figures: Figures
) -> None:
    """While a model is trained, and again while one is evaluated."""
    home = cluster.elsewhere(session.environment.kubeflow)
    needs(home, "get deployments/scale.apps", "update deployments/scale.apps")
    run = session.submit(cleanup, session.new_training(), _LONG, model="store")
    pods = run.training_pods(1, _BEGUN)
    run.trained(4, _TRAINED)
    stop_the_store(session, home, cleanup)
    run.step("evaluation", _TRAINED)
    stop_the_store(session, home, cleanup)
    assert run.command.end(_TRAINED) == 0, run.command.text
    after = {pod["metadata"]["uid"] for pod in cluster.training_pods(run.id)}
    assert after <= {pod["metadata"]["uid"] for pod in pods}, "training was started again"
    figures.note("with two times a minute without a store", run.command.ended - run.command.started)


def stop_the_store(session: Session, home: LiveCluster, cleanup: ExitStack) -> None:
    """No pod of the store for a minute; then as before."""
    deployment = session.environment.store_deployment

    def pods() -> int:
        found = home.request("GET", f"{home.path('apps/v1')}/deployments/{deployment}")
        return int((found.get("status") or {}).get("availableReplicas") or 0)

    before = home.scale(deployment, 0)
    back = cleanup.enter_context(ExitStack())
    back.callback(home.scale, deployment, before)
    wait_for("end of the store", lambda: pods() == 0, 120)
    gone = time.monotonic()
    wait_for("minute", lambda: time.monotonic() - gone >= AWAY_SECONDS, 2 * AWAY_SECONDS)
    back.close()
    wait_for("store", lambda: pods() >= before, 300)


@pytest.mark.usefixtures("disruptive")
def test_the_api_is_restarted(session: Session, cluster: LiveCluster, cleanup: ExitStack, figures: Figures) -> None:
    home = cluster.elsewhere(session.environment.kubeflow)
    needs(home, "delete pods", "list pods")
    run = session.submit(cleanup, "retraining.force=true", model="api")
    run.command.line(": runs", 300)
    before = home.pods("app=ml-pipeline")
    assert before
    for pod in before:
        home.delete("pods", pod["metadata"]["name"], at_once=True)
    killed = time.monotonic()
    gone = {pod["metadata"]["uid"] for pod in before}

    def ready() -> bool:
        return any(
            running(pod)
            and pod["metadata"]["uid"] not in gone
            and all(container.get("ready") for container in pod["status"].get("containerStatuses") or [])
            for pod in home.pods("app=ml-pipeline")
        )

    wait_for("new API", ready, 600)
    figures.note("API away", time.monotonic() - killed)
    assert run.command.end(2400) == 0, run.command.text
