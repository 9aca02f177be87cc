"""`--pull`: pods as of a run, which are always deleted; the kubelet's part is played by the test."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.doctor import pull
from tests.pipeline.doctor.cluster import Applied
from tests.pipeline.doctor.conftest import IMAGE, LAUNCHER, Examine, of
from tests.pod_security import restricted_faults
from tests.sharpen.jobs.fake_api import Call

pytestmark = pytest.mark.store
LEFT_OUT = ("store", "nodes", "secret", "rights of the steps")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "LOOK_SECONDS", 0.02)


def play(cluster: Applied, status: dict[str, Any], *lines: str) -> list[dict[str, Any]]:
    """Let every pod that is made come to this, and write these lines; the pods as they were made."""
    made: list[dict[str, Any]] = []

    def act(pod: dict[str, Any]) -> None:
        if pod["kind"] == "Pod":
            made.append(dict(pod))
            pod["status"] = status
            cluster.api.write(pod["metadata"]["name"], *lines)

    cluster.api.on_create = act
    return made


def ended(code: int, reason: str = "Completed") -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": reason}}
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": [{"name": "check", "state": state}]}


def waiting(reason: str, message: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": "check", "state": state}]}


def left(cluster: Applied) -> list[str]:
    return list(cluster.api.objects.get(("", "pods", "kubeflow"), {}))


def test_a_pod_as_of_a_step_and_one_that_trains(cluster: Applied, examine: Examine) -> None:
    made = play(cluster, ended(0), "ok: read", "ok: conditional write")
    settings = ['job.node_selector={"gpu": "yes"}', 'job.image_pull_secrets=["pulls"]']
    findings = examine(*settings, without=LEFT_OUT, pull=True)
    assert of(findings, "pod of a step").found == f"{LAUNCHER} was pulled and runs"
    assert of(findings, "training pod").found == f"{IMAGE} was pulled and runs"
    assert of(findings, "store from a step, conditional write").state == "pass"
    assert of(findings, "store from a training pod, read").state == "pass"
    step, training = (pod["spec"] for pod in made)
    assert step["serviceAccountName"] == "sharpen-pipeline"
    assert (training["nodeSelector"], training["imagePullSecrets"]) == ({"gpu": "yes"}, [{"name": "pulls"}])
    assert made[1]["metadata"]["labels"]["app.kubernetes.io/component"] == "training"
    for pod in made:
        assert restricted_faults(pod["spec"]) == []
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["containers"][0]["command"][-1] == cluster.store
    assert left(cluster) == []


def test_a_store_that_a_pod_cannot_use(cluster: Applied, examine: Examine) -> None:
    play(cluster, ended(2, "Error"), "fault: read: s3://b/k: access denied; this key may not do this")
    findings = examine(without=LEFT_OUT, pull=True)
    assert of(findings, "pod of a step").state == "pass"
    finding = of(findings, "store from a step, read")
    assert (finding.state, finding.found) == ("fail", "s3://b/k: access denied; this key may not do this")
    assert finding.mend
    assert left(cluster) == []


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (waiting("ImagePullBackOff", "manifest unknown"), "cannot pull its image: manifest unknown"),
        (waiting("InvalidImageName", "no"), "is not an image's name"),
        (ended(1, "Error"), "does not run: it wrote nothing"),
        ({"phase": "Pending"}, "did not end within 0 s"),
    ],
)
def test_an_image_that_does_not_start(
    cluster: Applied, examine: Examine, monkeypatch: pytest.MonkeyPatch, status: dict[str, Any], line: str
) -> None:
    if "containerStatuses" not in status:
        monkeypatch.setattr(pull, "PULL_SECONDS", 0.1)
    play(cluster, status)
    finding = of(examine(without=LEFT_OUT, pull=True), "pod of a step")
    assert finding.state == "fail"
    assert line in finding.found
    assert finding.mend
    assert left(cluster) == []


def test_interrupted_it_leaves_no_pod(cluster: Applied, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        assert left(cluster)
        raise KeyboardInterrupt

    monkeypatch.setattr(pull.time, "sleep", interrupted)
    play(cluster, {"phase": "Pending"})
    with pytest.raises(KeyboardInterrupt):
        examine(without=LEFT_OUT, pull=True)
    assert left(cluster) == []


def test_who_may_not_make_pods_is_told(cluster: Applied, examine: Examine) -> None:
    cluster.api.rights = lambda user, call: call["resource"] != "pods"
    findings = examine(without=LEFT_OUT, pull=True)
    assert of(findings, "pod of a step").state == "not checked"
    assert cluster.api.count("create", "pods") == 0


def test_a_pod_that_is_refused_is_told(cluster: Applied, examine: Examine) -> None:
    cluster.api.forbidden.add(Call("", "pods", "create"))
    finding = of(examine(without=LEFT_OUT, pull=True), "pod of a step")
    assert finding.state == "fail"
    assert "the pod cannot be made" in finding.found
