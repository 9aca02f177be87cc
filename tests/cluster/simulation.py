"""A cluster for the suite's own tests: the fake APIs, and somebody who does in them what a cluster would.

Every tenth of a second it looks at runs and objects: a new run gets a training job with pods that log their progress, a
pod that was deleted is made anew, a run that is cancelled loses its job.
"""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any

from pipeline.cluster.steps.pods import RUN_LABEL as KFP_RUN_LABEL
from pipeline.pods import LABELS
from sharpen.jobs.manifests.kinds import KINDS, Kind
from sharpen.jobs.manifests.pod_spec_inputs import RUN_LABEL
from tests.pipeline.cluster.fake_backend import Object
from tests.pipeline.cluster.fake_kfp import FakeKfp
from tests.sharpen.jobs.fake_api import FakeApi
from tests.sharpen.jobs.manifests import manifest, pod_of

NAMESPACE = "kubeflow"
STEPS = 12
# of the runs that something happens to
LONG_STEPS = 200
SECONDS_TO_LOOK = 3
# settings of a job that cannot go well -> what its launcher notes while it waits, and why it fails
FAULTS = {
    "memory=192Mi": ("", "pod job-0 ran out of memory (OOMKilled; its limit is 192Mi): raise job.memory"),
    "cpu=4096": ("0/1 nodes are available: 1 Insufficient cpu.", "0/1 nodes are available: 1 Insufficient cpu."),
    "image=localhost/sharpen-test/not-there:1": (
        "image localhost/sharpen-test/not-there:1 cannot be pulled",
        "image localhost/sharpen-test/not-there:1 cannot be pulled: not found",
    ),
}
# how long a job waits before it is given up: longer than a waiting command takes to look at a log
SECONDS_TO_WAIT = 25


class Simulation:
    """Use as a context manager.

    Args:
        kfp: Kubeflow Pipelines.
        api: Kubernetes.
    """

    def __init__(self, kfp: FakeKfp, api: FakeApi) -> None:
        self.kfp, self.api = kfp, api
        # when a lost pod was made anew, by run
        self.made: dict[str, float] = {}
        self._pods: dict[str, dict[str, tuple[Kind, Object, int]]] = {}
        self._faults: dict[str, tuple[float, str]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> Simulation:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)

    def _live(self) -> None:
        while not self._over.wait(0.1):
            for run in list(self.kfp.state.runs.values()):
                self.act(run)

    def act(self, run: Object) -> None:
        """What happens next in a run."""
        identity, state = run["run_id"], run["state"]
        if state == "PENDING":
            self._begin(run)
        elif state == "CANCELING":
            self._remove_job(identity)
            self._fail(run)
        elif state == "RUNNING" and identity in self._faults:
            since, reason = self._faults[identity]
            if time.monotonic() - since > SECONDS_TO_WAIT:
                self._fail(run, f"error: {reason}")
        elif state == "RUNNING" and not self._pods.get(identity):
            # it was refused, and is tried again
            self._begin(run)
        elif state == "RUNNING":
            self._make_lost_pods(identity)
            if time.monotonic() - self.made.get(identity, float("inf")) > SECONDS_TO_LOOK:
                self._end_pods(identity)
                self.kfp.set_tasks(run, task("finetuning", "SUCCEEDED"))
                self.kfp.set_state(run, "SUCCEEDED")

    def _begin(self, run: Object) -> None:
        identity = run["run_id"]
        self._put_launcher(identity)
        if quotas := self.api.all("", "resourcequotas", NAMESPACE):
            name = quotas[0]["metadata"]["name"]
            self._fail(run, f"error: the namespace's quota is used up: exceeded quota: {name}, requested: ...")
            return
        self.kfp.set_tasks(run, task("data-prep", "SUCCEEDED"), task("finetuning", "RUNNING"))
        inputs = run["runtime_config"]["parameters"]
        job: dict[str, Any] = inputs["overrides"].get("job", {})
        self._put_job(identity, job.get("backend", "pytorchjob"), int(inputs["job_nodes"]))
        for name, value in job.items():
            if f"{name}={value}" in FAULTS:
                self._go_wrong(run, *FAULTS[f"{name}={value}"])
        if inputs["overrides"]["training"]["max_steps"] != LONG_STEPS:
            # nothing is going to be lost
            self.made[identity] = time.monotonic()
        self.kfp.set_state(run, "RUNNING")

    def _go_wrong(self, run: Object, note: str, reason: str) -> None:
        identity = run["run_id"]
        self._faults[identity] = time.monotonic(), reason
        self.kfp.set_log(run, "finetuning", f"job job-0: pending\nnote: {note}\n" if note else "job job-0: running\n")
        killed = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
        for pod in self.api.all("", "pods", NAMESPACE):
            if pod["metadata"]["labels"].get(RUN_LABEL) == identity:
                pod["status"] = {"phase": "Pending", "containerStatuses": [] if note else [{"state": killed}]}

    def _fail(self, run: Object, *lines: str) -> None:
        self.kfp.set_tasks(run, task("data-prep", "SUCCEEDED"), task("finetuning", "FAILED"))
        if lines:
            ended = "F1129 00:00:00.000000 22 main.go:68] failed to execute component: exit status 1"
            self.kfp.set_log(run, "finetuning", "\n".join([*lines, ended, ""]))
        self.kfp.set_state(run, "FAILED")

    def _put_job(self, run: str, backend: str, nodes: int) -> None:
        made = manifest(backend, {"nodes": nodes})
        kind = next(kind for kind in KINDS if kind.name.lower() == backend)
        made["metadata"] |= {"namespace": NAMESPACE, "name": f"job-{run[:8]}"}
        made["metadata"]["labels"][RUN_LABEL] = run
        self.api.put(kind.group, kind.plural, made)
        template = pod_of(made)
        for number in range(nodes):
            self._put_training_pod(run, kind, template, number, f"Training:   8 % · {STEPS}/150 steps · 1 steps/s")

    def _put_training_pod(self, run: str, kind: Kind, template: Object, number: int, line: str) -> None:
        index = list(kind.first)[-1]
        labels = {**template["metadata"]["labels"], **kind.first, index: str(number), RUN_LABEL: run}
        meta = {"name": f"job-{run[:8]}-{number}", "namespace": NAMESPACE, "labels": labels, "uid": str(uuid.uuid4())}
        self.api.put("", "pods", {"metadata": meta, "spec": template["spec"], "status": {"phase": "Running"}})
        self.api.write(meta["name"], line)
        self._pods.setdefault(run, {})[meta["name"]] = (kind, template, number)

    def _put_launcher(self, run: str) -> None:
        meta = {
            "name": f"run-{run[:8]}-impl-1",
            "namespace": NAMESPACE,
            "uid": str(uuid.uuid4()),
            "labels": {KFP_RUN_LABEL: run, **LABELS},
            "annotations": {"workflows.argoproj.io/node-name": "sharpen-x.root.run.finetuning.executor"},
        }
        spec = {"containers": [{"name": "main", "image": "i"}]}
        self.api.put("", "pods", {"metadata": meta, "spec": spec, "status": {"phase": "Running"}})

    def _make_lost_pods(self, run: str) -> None:
        there = {pod["metadata"]["name"] for pod in self.api.all("", "pods", NAMESPACE)}
        if f"run-{run[:8]}-impl-1" not in there:
            self._put_launcher(run)
            self.made[run] = time.monotonic()
        for name, (kind, template, number) in list(self._pods.get(run, {}).items()):
            if name not in there:
                self._put_training_pod(run, kind, template, number, "Training from step 8:   8 % · 9/150 steps · ...")
                self.made[run] = time.monotonic()

    def _end_pods(self, run: str) -> None:
        for pod in self.api.all("", "pods", NAMESPACE):
            if run in pod["metadata"]["labels"].values():
                pod["status"] = {"phase": "Succeeded"}

    def _remove_job(self, run: str) -> None:
        for kind in KINDS:
            for job in self.api.all(kind.group, kind.plural, NAMESPACE):
                if job["metadata"]["labels"].get(RUN_LABEL) == run:
                    self.api.remove(kind.group, kind.plural, job["metadata"]["name"], NAMESPACE)
        for name in self._pods.pop(run, {}):
            self.api.remove("", "pods", name, NAMESPACE)


def task(name: str, state: str) -> Object:
    """A task of a run."""
    return {"display_name": name, "state": state}
