"""Pod Security "restricted" admits every pod of a run; network policies hold both ways."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from contextlib import ExitStack

import pytest

from pipeline.pods import LABELS
from tests.cluster.conftest import needs
from tests.cluster.live.conftest import WholeRun
from tests.cluster.live_cluster import LiveCluster, Object, running
from tests.cluster.results import Figures
from tests.cluster.runs import Session
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster

TRAINING = LABELS | {"app.kubernetes.io/component": "training"}
NOBODY = {"sharpen/test-role": "nobody"}
CLOSED = {"sharpen/test-role": "closed"}
PORT = 8080
_LISTEN = f"""
import http.server
http.server.ThreadingHTTPServer(("", {PORT}), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
# Rules reach a new pod a little after it started: an answer that is not the expected one is asked for again.
_CALL = """
import json, os, socket, time
from urllib.parse import urlsplit
def reaches(host, port):
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError:
        return False
    return True
api = (os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"]))
store = urlsplit(os.environ.get("AWS_ENDPOINT_URL_S3") or "https://s3.amazonaws.com")
targets = {"api": api, "store": (store.hostname, store.port or 443), **%(others)r}
expected, end = %(expected)r, time.monotonic() + 60
while True:
    found = {name: reaches(*targets[name]) for name in expected}
    if found == expected or time.monotonic() > end:
        break
    time.sleep(1)
print("found", json.dumps(found))
"""


def admitted(pod: Object, namespace: str) -> Object:
    """The pod as it could be made anew in another namespace: without what the cluster put in."""
    spec = copy.deepcopy(pod["spec"])
    for name in ("nodeName", "serviceAccount", "serviceAccountName", "priority", "preemptionPolicy"):
        spec.pop(name, None)
    token = {volume["name"] for volume in spec.get("volumes") or [] if volume["name"].startswith("kube-api-access-")}
    spec["volumes"] = [volume for volume in spec.get("volumes") or [] if volume["name"] not in token]
    for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
        mounts = container.get("volumeMounts") or []
        container["volumeMounts"] = [mount for mount in mounts if mount["name"] not in token]
    meta = pod["metadata"]
    kept = {"name": meta["name"], "namespace": namespace, "labels": meta.get("labels") or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": kept, "spec": spec}


def test_restricted_pod_security(
    session: Session, cluster: LiveCluster, whole_run: WholeRun, cleanup: ExitStack, figures: Figures
) -> None:
    """Every pod of a run, Kubeflow's own and those of the training, by the cluster's admission."""
    needs(cluster, "create namespaces", "delete namespaces")
    name = f"{session.name}-restricted"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "sharpen/test": cluster.session}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    cleanup.callback(cluster.request, "DELETE", f"/api/v1/namespaces/{name}", {}, repeat_conflicts=False)
    cluster.request("POST", "/api/v1/namespaces", namespace)
    restricted = cluster.elsewhere(name)
    wait_for("default account", lambda: restricted.read_object("serviceaccounts", "default"), 60)
    assert whole_run.pods
    for pod in whole_run.pods:
        # a refusal names what breaks the rules
        restricted.dry_run("pods", admitted(pod, name))
    figures.note("admitted", len(whole_run.pods), "pods")


def found(
    session: Session, labels: Mapping[str, str], expected: dict[str, bool], **others: tuple[str, int]
) -> dict[str, bool]:
    """What a pod with these labels reaches."""
    program = _CALL % {"others": others, "expected": expected}
    printed = session.cluster.output("caller", session.small_image, program, labels, session.environment.account)
    (line,) = [line for line in printed.splitlines() if line.startswith("found ")]
    return json.loads(line.removeprefix("found "))


def listener(session: Session, cleanup: ExitStack, name: str, labels: Mapping[str, str]) -> tuple[str, int]:
    """The address of a pod with these labels that listens."""
    cluster, account = session.cluster, session.environment.account
    pod = cleanup.enter_context(cluster.started(name, session.small_image, _LISTEN, labels, account))

    def address() -> str:
        there = cluster.read_object("pods", pod)
        return str(there["status"].get("podIP") or "") if there and running(there) else ""

    return wait_for(f"address of pod {pod}", address, 300), PORT


def enforced(session: Session, cleanup: ExitStack) -> bool:
    """True if the cluster obeys network policies at all: one that lets nobody in, on a pod of its own."""
    cluster, name = session.cluster, f"{session.name}-closed"
    spec = {"podSelector": {"matchLabels": CLOSED}, "policyTypes": ["Ingress"], "ingress": []}
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec}
    cleanup.callback(cluster.delete, "networkpolicies", name, "networking.k8s.io/v1")
    cluster.create("networkpolicies", policy, "networking.k8s.io/v1")
    closed = listener(session, cleanup, "closed", CLOSED)
    return not found(session, NOBODY, {"closed": False}, closed=closed)["closed"]


def test_network_policies(session: Session, cluster: LiveCluster, cleanup: ExitStack) -> None:
    """Who may call whom, tried with pods that have the labels of steps and of training."""
    needs(cluster, "create pods", "delete pods", "create networkpolicies.networking.k8s.io")
    if not enforced(session, cleanup):
        pytest.skip("this cluster does not enforce network policies")
    step = listener(session, cleanup, "step", LABELS)
    worker = listener(session, cleanup, "worker", TRAINING)
    anybody = listener(session, cleanup, "anybody", {"sharpen/test-role": "open"})
    for labels, others, expected in (
        (
            NOBODY,
            {"step": step, "worker": worker, "anybody": anybody},
            {"step": False, "worker": False, "anybody": True},
        ),
        (TRAINING, {"step": step, "worker": worker}, {"store": True, "api": False, "worker": True, "step": False}),
        (LABELS, {"worker": worker}, {"store": True, "api": True, "worker": False}),
    ):
        assert found(session, labels, expected, **others) == expected, labels
