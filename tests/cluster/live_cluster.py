"""The cluster's API as the tests use it: the client of `sharpen.jobs`, and what only a test does."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.cluster.steps.pods import RUN_LABEL as KFP_RUN_LABEL
from pipeline.doctor.cluster_probe import ClusterProbe
from pipeline.pods import STORE_CONFIG, STORE_KEYS, STORE_SECRET
from sharpen.jobs.kubernetes.client import Cluster
from sharpen.jobs.kubernetes.errors import KubernetesError
from sharpen.jobs.manifests import pod as pod_parts
from sharpen.jobs.manifests.kinds import KINDS, Kind
from sharpen.jobs.manifests.pod_spec_inputs import RUN_LABEL, label_value
from tests.cluster.waiting import wait_for

Object = dict[str, Any]
TEST_LABEL = "sharpen/test"
_NODE_NAME = "workflows.argoproj.io/node-name"


class LiveCluster(ClusterProbe):
    """The API as one namespace sees it.

    Args:
        namespace: of all calls.
        session: the value of the label that everything made here has.
    """

    def __init__(self, namespace: str, session: str) -> None:
        # nobody waits at a terminal, and one answer that fails must not fail a test of ten minutes
        Cluster.__init__(self, namespace, patience=60.0)
        self.session = session

    def elsewhere(self, namespace: str) -> LiveCluster:
        """The same, in another namespace."""
        return LiveCluster(namespace, self.session)

    # objects

    def create(self, resource: str, manifest: Object, api: str = "") -> Object:
        """Create an object of the namespace; it gets the session's label."""
        manifest["metadata"].setdefault("labels", {})[TEST_LABEL] = self.session
        return self.request("POST", f"{self.path(api)}/{resource}", manifest)

    def delete(self, resource: str, name: str, api: str = "", *, at_once: bool = False) -> None:
        """Delete an object of the namespace, without its grace period where that is asked; none there is no fault."""
        options: Object = {"propagationPolicy": "Background"} | ({"gracePeriodSeconds": 0} if at_once else {})
        try:
            self.request("DELETE", f"{self.path(api)}/{resource}/{name}", options, repeat_conflicts=False)
        except KubernetesError as error:
            if error.status != 404:
                raise

    def scale(self, deployment: str, replicas: int) -> int:
        """Set a Deployment's number of pods; what it was."""
        path = f"{self.path('apps/v1')}/deployments/{deployment}/scale"
        scale = self.request("GET", path)
        before = int((scale.get("spec") or {}).get("replicas") or 0)
        self.request("PUT", path, {**scale, "spec": {"replicas": replicas}})
        return before

    # runs

    def pods_of_run(self, run: str) -> list[Object]:
        """The pods that Kubeflow Pipelines started for a run, and those of its training jobs."""
        return [*self.pods(f"{KFP_RUN_LABEL}={run}"), *self.training_pods(run)]

    def training_pods(self, run: str) -> list[Object]:
        """The pods of a run's training jobs."""
        return self.pods(f"{RUN_LABEL}={label_value(run)}")

    def job_of_run(self, run: str) -> tuple[Kind, Object] | None:
        """The training job of a run, with its kind; None: there is none."""
        found = [(kind, job) for kind in KINDS for job in self.list_jobs(kind, f"{RUN_LABEL}={label_value(run)}")]
        assert len(found) <= 1, f"a run has several jobs: {[job['metadata']['name'] for _, job in found]}"
        return found[0] if found else None

    def step_pods(self, run: str, step: str) -> list[Object]:
        """The pods that execute a step (not the drivers), by the name of the step's task such as ``finetuning``."""
        found = self.pods(f"{KFP_RUN_LABEL}={run}")
        return [pod for pod in found if step in node_name(pod) and "driver" not in pod["metadata"]["name"]]

    # programs in pods

    @contextmanager
    def started(self, name: str, image: str, program: str, labels: Mapping[str, str], account: str) -> Iterator[str]:
        """A pod that runs a Python program, as Pod Security "restricted" wants it; its name. It is deleted in the end.

        Args:
            name: part of its name.
            image: it runs.
            program: of Python.
            labels: of the pod.
            account: its service account; it gets no token.
        """
        name = f"sharpen-test-{name}-{secrets.token_hex(3)}"
        self.create("pods", program_pod(name, image, program, labels, account))
        try:
            yield name
        finally:
            self.delete("pods", name, at_once=True)

    def output(self, name: str, image: str, program: str, labels: Mapping[str, str], account: str) -> str:
        """What a program in a pod printed; arguments as in `started`.

        Raises:
            AssertionError: it failed, or did not end within five minutes.
        """
        with self.started(name, image, program, labels, account) as pod:
            phase = wait_for(f"end of pod {pod}", lambda: ended(self.pod(pod)), 300)
            printed = "\n".join(self.log_lines(pod, "main", 1000))
            assert phase == "Succeeded", f"pod {pod}: {phase}\n{printed}"
            return printed


class PodRecorder:
    """The pods of a run as they were last seen, also those that are gone. Use as a context manager.

    Args:
        cluster: where the run is.
        run: its id.
    """

    def __init__(self, cluster: LiveCluster, run: str) -> None:
        self.seen: dict[str, Object] = {}
        self._cluster, self._run = cluster, run
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PodRecorder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(90)

    def look(self) -> None:
        """Look once."""
        for pod in self._cluster.pods_of_run(self._run):
            self.seen[pod["metadata"]["name"]] = pod

    def _watch(self) -> None:
        while not self._over.wait(2):
            try:
                self.look()
            except KubernetesError:
                # the API is away; what is missed here is looked at again
                time.sleep(1)


def program_pod(name: str, image: str, program: str, labels: Mapping[str, str], account: str) -> Object:
    """The manifest of a pod that runs a Python program with the store's address and keys, and no token of the API."""
    container = {
        "name": "main",
        "image": image,
        "command": ["python", "-c", program],
        "envFrom": [{"configMapRef": {"name": STORE_CONFIG, "optional": True}}],
        "env": [
            {"name": variable, "valueFrom": {"secretKeyRef": {"name": STORE_SECRET, "key": key, "optional": True}}}
            for key, variable in STORE_KEYS.items()
        ],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": pod_parts.container_security(),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": pod_parts.pod_security(),
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "100Mi"}}],
        },
    }


def node_name(pod: Mapping[str, Any]) -> str:
    """The name of a pod's node in Argo's graph, such as ``sharpen-x.root.finetuning.executor``; empty: none."""
    return (pod["metadata"].get("annotations") or {}).get(_NODE_NAME, "")


def running(pod: Mapping[str, Any]) -> bool:
    """True while a pod runs, and nobody has deleted it."""
    return (pod.get("status") or {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")


def ended(pod: Mapping[str, Any] | None) -> str:
    """How a pod ended: Succeeded, Failed, or Deleted; empty: it has not."""
    if pod is None:
        return "Deleted"
    phase = (pod.get("status") or {}).get("phase") or ""
    return phase if phase in ("Succeeded", "Failed") else ""


def terminated(pods_seen: Sequence[Mapping[str, Any]], reason: str) -> bool:
    """True if a container of these pods was ended for a reason such as OOMKilled, now or before it started again."""
    states = [
        state
        for pod in pods_seen
        for container in (pod.get("status") or {}).get("containerStatuses") or []
        for state in (container.get("state") or {}, container.get("lastState") or {})
    ]
    return any((state.get("terminated") or {}).get("reason") == reason for state in states)
