"""The kinds of training job: a TrainJob, and several nodes of either kind."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from sharpen.jobs.manifests.kinds import PYTORCHJOB, TRAINJOB
from tests.cluster.live_cluster import LiveCluster
from tests.cluster.results import Figures
from tests.cluster.runs import Session

pytestmark = pytest.mark.cluster

_RUNTIME = "sharpen-torch"
_BEGUN, _ENDED = 1800, 2400


def test_two_nodes(session: Session, cleanup: ExitStack, figures: Figures) -> None:
    run = session.submit(cleanup, session.new_training(), "job.nodes=2", model="nodes")
    kind, job = run.job(_BEGUN)
    assert kind is PYTORCHJOB
    (replicas,) = job["spec"]["pytorchReplicaSpecs"].values()
    assert replicas["replicas"] == 2
    run.training_pods(2, 900)
    assert run.command.end(_ENDED) == 0, run.command.text
    figures.note("two nodes", run.command.ended - run.command.started)


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_train_job(session: Session, cluster: LiveCluster, cleanup: ExitStack, figures: Figures, nodes: int) -> None:
    if TRAINJOB.plural not in cluster.served(TRAINJOB.group, TRAINJOB.version):
        pytest.skip("Kubeflow Trainer is not installed")
    if not cluster.read(f"/apis/{TRAINJOB.api_version}/clustertrainingruntimes/{_RUNTIME}"):
        pytest.skip(f"there is no ClusterTrainingRuntime {_RUNTIME}: k8s/overlays/kind-trainer-v2 has it")
    settings = ("job.backend=trainjob", f"job.runtime={_RUNTIME}", "job.service_account=sharpen-training")
    run = session.submit(cleanup, session.new_training(), *settings, f"job.nodes={nodes}", model=f"trainjob-{nodes}")
    kind, _ = run.job(_BEGUN)
    assert kind is TRAINJOB
    run.training_pods(nodes, 900)
    assert run.command.end(_ENDED) == 0, run.command.text
    figures.note(f"TrainJob of {nodes}", run.command.ended - run.command.started)
