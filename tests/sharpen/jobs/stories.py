"""What happens to a job on a cluster, told step by step to the fake API while the launcher watches it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

from sharpen.jobs.cluster_backend import ClusterBackend
from sharpen.jobs.job import Job
from sharpen.jobs.kubernetes.client import Cluster
from sharpen.jobs.kubernetes.watch import PollInterval
from sharpen.jobs.manifests.kinds import PYTORCHJOB, TRAINJOB, Kind
from sharpen.jobs.settings import JobSettings
from sharpen.store import storage
from tests.sharpen.jobs.fake_api import FakeApi, Object

RUN = "0b2f6f5e-run"
IMAGE = "registry.example/sharpen@sha256:" + "1" * 64
KINDS = {"pytorchjob": PYTORCHJOB, "trainjob": TRAINJOB}
QUICK = PollInterval(shortest=0.02, longest=1)


class Story:
    """Plays the operator, the scheduler and the kubelet for one job."""

    def __init__(self, api: FakeApi, kind: Kind = PYTORCHJOB) -> None:
        self.api, self.kind = api, kind

    def job(self) -> Object:
        """The job, once the launcher created it."""
        return self.api.wait_for(lambda: next(iter(self.api.all(self.kind.group, self.kind.plural)), None))

    @property
    def name(self) -> str:
        return self.job()["metadata"]["name"]

    def pod_name(self, index: int = 0) -> str:
        """The operator's name for a pod."""
        if self.kind is TRAINJOB:
            return f"{self.name}-node-0-{index}-abcde"
        role = next(iter(self.job()["spec"]["pytorchReplicaSpecs"])).lower()
        return f"{self.name}-{role}-{index}"

    def pod(self, index: int = 0, phase: str = "Running", uid: str = "", **status: Any) -> str:
        """Make a pod, or put another in its place; its name."""
        name = self.pod_name(index)
        if self.kind is TRAINJOB:
            labels = {
                "jobset.sigs.k8s.io/jobset-name": self.name,
                "jobset.sigs.k8s.io/replicatedjob-name": "node",
                "batch.kubernetes.io/job-completion-index": str(index),
            }
        else:
            labels = {"training.kubeflow.org/job-name": self.name, "training.kubeflow.org/replica-index": str(index)}
        container: Object = {"name": self.kind.container, "restartCount": 0, "state": {}}
        if phase == "Running":
            container["state"] = {"running": {"startedAt": "2026-11-21T08:00:00Z"}}
        limits = {"resources": {"limits": {"memory": "8Gi"}}}
        meta: Object = {"name": name, "labels": labels, **({"uid": uid} if uid else {})}
        spec = {"containers": [{"name": self.kind.container, "image": IMAGE, **limits}]}
        found = {"metadata": meta, "spec": spec, "status": {"phase": phase, "containerStatuses": [container], **status}}
        self.api.put("", "pods", found)
        return name

    def waiting(self, reason: str, message: str = "", index: int = 0) -> None:
        """A pod whose container does not start."""
        state = {"waiting": {"reason": reason, "message": message}}
        statuses = [{"name": self.kind.container, "restartCount": 0, "state": state}]
        self.pod(index, "Pending", containerStatuses=statuses)

    def ended(
        self, code: int, reason: str = "Error", message: str = "", index: int = 0, restarted: bool = False
    ) -> None:
        """A pod's container ended; its pod failed, or the kubelet started the container again."""
        end = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
        status: Object = {"name": self.kind.container, "restartCount": int(restarted)}
        status |= {"state": {"running": {}}, "lastState": end} if restarted else {"state": end}

        def act(pod: Object) -> None:
            pod["status"]["phase"] = "Running" if restarted else "Failed"
            pod["status"]["containerStatuses"] = [status]

        if restarted:
            self.api.old_logs[self.pod_name(index)] = self.api.logs.pop(self.pod_name(index), [])
        self.api.change("", "pods", self.pod_name(index), act)

    def condition(self, kind: str, message: str = "", status: str = "True", at: str = "2026-11-21T08:30:00Z") -> None:
        """Let the operator say something of the job."""

        def act(job: Object) -> None:
            conditions = job.setdefault("status", {}).setdefault("conditions", [])
            conditions.append({"type": kind, "status": status, "message": message, "lastTransitionTime": at})

        self.api.change(self.kind.group, self.kind.plural, self.name, act)

    def finish_pods(self) -> None:
        """All pods ended well."""
        for pod in self.api.all("", "pods"):
            if self.kind.job_label in pod["metadata"]["labels"]:
                end = {"terminated": {"exitCode": 0, "reason": "Completed"}}
                pod["status"]["phase"] = "Succeeded"
                pod["status"]["containerStatuses"][0]["state"] = end
                self.api.put("", "pods", pod)

    def succeed(self, output: str = "", run: str = RUN) -> None:
        """The job ends well, and its output is finished if an address is given."""
        if output:
            with storage.publish(output, producer="finetuning", run_id=run) as folder:
                (folder / "training.json").write_text("{}")
        self.finish_pods()
        self.condition(self.kind.succeeded, "done")

    def fail(self, message: str = "it reached the specified backoff limit") -> None:
        """The operator gives the job up."""
        self.condition(self.kind.failed, message)

    def looked(self, times: int = 2) -> None:
        """Until the launcher looked at the job some more times; each time something about the job changes."""
        for _ in range(times):
            before = self.api.count("list", "pods")
            self.api.change(self.kind.group, self.kind.plural, self.name, lambda job: job.setdefault("status", {}))
            self.api.wait_for(lambda before=before: self.api.count("list", "pods") > before)


@contextlib.contextmanager
def told(act: Callable[[], object]) -> Iterator[None]:
    """Let a story go on beside the block; its failure is the test's."""
    faults: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as fault:
            faults.append(fault)
            # the launcher must not wait for what will not happen any more
            FakeApi.newest.clear()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(30)
        if faults:
            raise faults[0]
        assert not thread.is_alive()


def a_job(output: str = "s3://bucket/runs/one/model", **settings: Any) -> Job:
    """A job as the fine-tuning step launches it."""
    arguments = {"data": "s3://bucket/data", "model": "BAAI/bge-small-en-v1.5", "output": output, "max_steps": "3"}
    return Job("components.finetuning", arguments, JobSettings.checked(settings))


def backend(job: Job, kind: str = "pytorchjob", *, patience: float = 10.0) -> ClusterBackend:
    """The backend of a job, in a hurry."""
    return ClusterBackend(job, kind, cluster=Cluster(patience=patience, first_wait=0.01), poll=QUICK)


def run(job: Job, kind: str = "pytorchjob") -> None:
    """Everything that `run_job` does with a backend."""
    launched = backend(job, kind)
    launched.submit(launched.build())
    launched.result(launched.watch())


def outcome(code: int, *lines: str) -> str:
    """A termination message as a process of ours leaves it."""
    return json.dumps({"step": "finetuning", "exit_code": code, "lines": list(lines)})
