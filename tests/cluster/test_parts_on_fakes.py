"""The suite's parts that talk to a cluster, on the fake APIs: selectors, objects, arguments of commands, cleaning up.

Some live tests run here as they are, against a simulation: what they wait for must be what a run of ours shows.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import yaml

from pipeline.cluster.api import connection
from pipeline.cluster.api.settings import ConnectionSettings, variable
from pipeline.cluster.schedules import ScheduleFile
from pipeline.pods import LABELS
from sharpen import progress
from sharpen.store import storage
from tests.cluster import waiting
from tests.cluster.environment import Environment, from_variables
from tests.cluster.live import test_jobs, test_reasons, test_schedules, test_survival
from tests.cluster.live_cluster import LiveCluster, PodRecorder, program_pod
from tests.cluster.results import Figures
from tests.cluster.runs import RESUMED, STEPS_DONE, Session
from tests.cluster.simulation import NAMESPACE, Simulation
from tests.k8s.rendered import K8S, of_kind, render
from tests.pipeline.cluster.fake_kfp import FakeKfp
from tests.pod_security import restricted_faults
from tests.sharpen.jobs.fake_api import FakeApi, Object

IMAGE = "registry.example/sharpen-python@sha256:" + "0" * 64


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No long waits, and no settings from outside."""
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.05)
    for field in ConnectionSettings.model_fields.values():
        monkeypatch.delenv(variable(field), raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """Kubernetes, whose pods with programs of the tests end at once."""

    def created(made: Object) -> None:
        if made["metadata"]["name"].startswith("sharpen-test-"):
            made["status"] = {"phase": "Succeeded"}
            served.write(made["metadata"]["name"], "done")

    with FakeApi() as served:
        served.known |= {("", name) for name in ("configmaps", "resourcequotas")} | {("apps", "deployments")}
        served.on_create = created
        served.known.add(("trainer.kubeflow.org", "clustertrainingruntimes"))
        runtime = {"metadata": {"name": "sharpen-torch", "namespace": ""}}
        served.put("trainer.kubeflow.org", "clustertrainingruntimes", runtime)
        monkeypatch.setenv("KUBECONFIG", str(served.kubeconfig(tmp_path, NAMESPACE)))
        yield served


@pytest.fixture
def cluster(api: FakeApi) -> LiveCluster:
    """The API as the tests use it."""
    return LiveCluster(NAMESPACE, "abc123")


@pytest.fixture
def environment(kfp: FakeKfp, api: FakeApi) -> Environment:
    """The variables for it."""
    assert api.port
    variables = {"KUBECONFIG": os.environ["KUBECONFIG"], "KFP_ENDPOINT": kfp.url, "SHARPEN_TEST_IMAGE": IMAGE}
    return from_variables(variables)


@pytest.fixture
def session(environment: Environment, cluster: LiveCluster, tmp_path: Path) -> Session:
    """A session whose end is left to the test."""
    opened = connection.connect(ConnectionSettings.given(endpoint=environment.endpoint))
    return Session(environment, cluster, opened, "s3://mlpipeline/sharpen", tmp_path)


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    """As for the live tests."""
    with ExitStack() as stack:
        yield stack


def test_a_pod_with_a_program_is_restricted_and_uses_names_of_our_manifests() -> None:
    pod = program_pod("p", IMAGE, "print(1)", LABELS, "sharpen-pipeline")
    assert restricted_faults(pod["spec"]) == []
    rendered = render(K8S / "overlays/kind")
    assert pod["spec"]["serviceAccountName"] in of_kind(rendered, "ServiceAccount")
    (container,) = pod["spec"]["containers"]
    assert container["envFrom"][0]["configMapRef"]["name"] in of_kind(rendered, "ConfigMap")
    (check,) = of_kind(rendered, "CronJob").values()
    (checked,) = check["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    secrets = {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in checked["env"]}
    assert {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in container["env"]} == secrets


def test_network_policies_choose_the_pods_that_stand_for_steps_and_training() -> None:
    from tests.cluster.live.test_security import TRAINING

    policies = of_kind(render(K8S / "overlays/kind"), "NetworkPolicy")
    chosen = {name: policy["spec"]["podSelector"]["matchLabels"] for name, policy in policies.items()}
    assert (chosen["sharpen-step"], chosen["sharpen-training"]) == (LABELS, TRAINING)


def test_output_of_a_program_and_the_end_of_its_pod(api: FakeApi, cluster: LiveCluster) -> None:
    assert cluster.output("files", IMAGE, "print(1)", LABELS, "sharpen-pipeline") == "done"
    assert not api.all("", "pods", NAMESPACE)
    api.on_create = lambda made: made.update(status={"phase": "Failed"})
    with pytest.raises(AssertionError, match=r"pod sharpen-test-files-\w+: Failed"):
        cluster.output("files", IMAGE, "print(1)", LABELS, "sharpen-pipeline")
    assert not api.all("", "pods", NAMESPACE)


def test_the_store_is_scaled_away_and_back_also_after_a_failure(
    api: FakeApi, cluster: LiveCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = {"name": "seaweedfs", "namespace": NAMESPACE}
    store = {"metadata": meta, "spec": {"replicas": 2}, "status": {"availableReplicas": 2}}
    api.put("apps", "deployments", store)
    monkeypatch.setattr(test_survival, "AWAY_SECONDS", 0.2)
    with ExitStack() as cleanup:
        test_survival.stop_the_store(session, cluster, cleanup)
    assert store["spec"]["replicas"] == 2
    with pytest.raises(AssertionError, match="no minute"), ExitStack() as cleanup:
        monkeypatch.setenv("SHARPEN_TEST_PATIENCE", "0.001")
        test_survival.stop_the_store(session, cluster, cleanup)
    assert store["spec"]["replicas"] == 2


def test_progress_of_a_training_is_read_from_its_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for what in ("Training", "Training from step 1,204"):
        lines = progress._Lines(what, 4000, "steps")
        lines.done = 1210
        lines.print_line()
    first, second = (record.message for record in caplog.records)
    for line in (first, second):
        assert (found := STEPS_DONE.search(line)) and found[1] == "1,210"
    assert (found := RESUMED.search(second)) and found[1] == "1,204"
    assert not RESUMED.search(first)


SCENARIOS: dict[str, Callable[[Session, LiveCluster, ExitStack, Figures], None]] = {
    "cancel": test_survival.test_cancel,
    "worker killed": test_survival.test_a_worker_is_killed,
    "launcher killed": test_survival.test_the_launcher_is_killed,
    "quota": test_reasons.test_a_quota_that_is_used_up_then_retry,
    "out of memory": test_reasons.test_out_of_memory,
    "image": lambda session, _, *rest: test_reasons.test_an_image_that_is_not_there(session, *rest),
    "no node": lambda session, _, *rest: test_reasons.test_no_node_that_is_large_enough(session, *rest),
    "two nodes": lambda session, _, *rest: test_jobs.test_two_nodes(session, *rest),
    "TrainJob": partial(test_jobs.test_a_train_job, nodes=2),
}
ALL = os.environ.get("SHARPEN_TEST_PARTS") == "all"


@pytest.mark.parametrize("name", SCENARIOS if ALL else ["cancel"])
def test_a_live_test_on_a_simulation(
    name: str, kfp: FakeKfp, api: FakeApi, session: Session, cluster: LiveCluster
) -> None:
    figures = Figures(4)
    with Simulation(kfp, api), ExitStack() as cleanup:
        SCENARIOS[name](session, cluster, cleanup, figures)
    assert figures.found
    (run,) = session.runs
    body = kfp.state.runs[run]
    assert body["service_account"] == "sharpen-pipeline"
    assert body["runtime_config"]["parameters"]["store"] == f"s3://mlpipeline/sharpen/{session.name}"
    with Simulation(kfp, api):
        session.close()
    assert not (kfp.state.runs or kfp.state.experiments or kfp.state.pipelines or kfp.state.versions)
    assert not api.all("kubeflow.org", "pytorchjobs", NAMESPACE)


def test_the_end_of_a_session_deletes_its_files_only(
    s3: str, session: Session, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program of the pod, run here on a real store."""
    programs: list[str] = []
    monkeypatch.setattr(session, "in_pod", lambda name, program: programs.append(program))
    session.store = f"{s3}/sharpen/{session.name}"
    session.runs.append("11111111-run")
    meta = {"name": "kfp-launcher", "namespace": NAMESPACE}
    api.put("", "configmaps", {"metadata": meta, "data": {"defaultPipelineRoot": f"{s3}/artifacts"}})
    for name in (f"sharpen/{session.name}/models/a", "artifacts/sharpen/11111111-run/x", "artifacts/sharpen/other/x"):
        storage.write_bytes(f"{s3}/{name}", b"1")
    session.close()
    (program,) = programs
    exec(program, {})
    left = {file.name for file in storage.list_files(s3)}
    assert "artifacts/sharpen/other/x" in left
    assert not [name for name in left if session.name in name or "11111111-run" in name]


def test_what_cannot_be_removed_is_named_and_the_rest_is(
    kfp: FakeKfp, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, program: str) -> str:
        raise AssertionError("pod x: Failed")

    monkeypatch.setattr(session, "in_pod", refuse)
    session.api.call_without_retry(
        "create",
        session.api.experiments.experiment_service_create_experiment,
        experiment={"display_name": session.name},
    )
    with pytest.raises(AssertionError, match=rf"left behind by {session.name}: files in the store: pod x: Failed"):
        session.close()
    assert not kfp.state.experiments


def test_the_recorder_keeps_pods_that_are_gone(api: FakeApi, cluster: LiveCluster) -> None:
    meta = {"name": "p", "namespace": NAMESPACE, "labels": {"pipeline/runid": "r"}}
    api.put("", "pods", {"metadata": meta})
    with PodRecorder(cluster, "r") as recorder:
        recorder.look()
        api.remove("", "pods", "p", NAMESPACE)
        recorder.look()
    assert list(recorder.seen) == ["p"]


def test_settings_of_runs_are_settings_that_a_cluster_takes(session: Session) -> None:
    """Every test's, checked as `submit` checks them."""
    from pipeline.cluster.submitting import check_submittable
    from pipeline.parameters import load

    options = session.settings(session.new_training(), "job.nodes=2", model="nodes")
    settings = load(Path(options[1]), options[3::2])
    check_submittable(settings)
    assert settings.model_name == f"{session.name}-nodes"
    assert (
        settings.training.seed != load(Path(options[1]), session.settings(session.new_training())[3::2]).training.seed
    )
    assert yaml.safe_load(Path(options[1]).read_text()).keys() >= {"train_data", "promotion"}
    (scheduled,) = ScheduleFile.checked(test_schedules.schedule_file(session, "0 3 * * *")).schedules
    assert load(Path(scheduled.config), over=scheduled.settings) == load(Path(options[1]), session.settings()[3::2])


def test_a_pod_is_tried_anew_without_what_the_cluster_put_in() -> None:
    from tests.cluster.live.test_security import admitted

    token = {"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    work = {"name": "work", "mountPath": "/work"}
    spec = {
        "nodeName": "n",
        "serviceAccountName": "sharpen-pipeline",
        "priority": 0,
        "containers": [{"name": "main", "volumeMounts": [token, work]}],
        "volumes": [{"name": "kube-api-access-x", "projected": {}}, {"name": "work", "emptyDir": {}}],
    }
    made = admitted({"metadata": {"name": "p", "namespace": "a", "uid": "u", "labels": {"x": "y"}}, "spec": spec}, "b")
    assert made["metadata"] == {"name": "p", "namespace": "b", "labels": {"x": "y"}}
    assert made["spec"] == {
        "containers": [{"name": "main", "volumeMounts": [work]}],
        "volumes": [{"name": "work", "emptyDir": {}}],
    }
    assert spec["nodeName"] == "n"
