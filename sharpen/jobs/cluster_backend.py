"""Jobs on a Kubernetes cluster: the same steps for both kinds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

from sharpen.errors import StepFailed
from sharpen.jobs.job import Job, JobResult
from sharpen.jobs.kubernetes.client import Cluster
from sharpen.jobs.kubernetes.errors import KubernetesError, explained
from sharpen.jobs.kubernetes.log_archive import LogArchive
from sharpen.jobs.kubernetes.prepared_delete import PreparedDelete
from sharpen.jobs.kubernetes.watch import PollInterval, Watch
from sharpen.jobs.launch_context import LaunchContext, discover_context, store_hint
from sharpen.jobs.manifests.kinds import PYTORCHJOB, TRAINJOB, Kind, phase_of
from sharpen.jobs.manifests.manifest import HASH_ANNOTATION, differences
from sharpen.jobs.manifests.pod_spec_inputs import PodSpecInputs, make_pod_spec_inputs
from sharpen.jobs.manifests.pytorchjob import pytorchjob
from sharpen.jobs.manifests.trainjob import trainjob
from sharpen.jobs.result import check_output, raise_failure
from sharpen.processes.local import cancelled_on_signals

logger = logging.getLogger(__name__)

BUILDERS: dict[str, tuple[Kind, Callable[[PodSpecInputs], dict[str, Any]]]] = {
    "pytorchjob": (PYTORCHJOB, pytorchjob),
    "trainjob": (TRAINJOB, trainjob),
}
GONE_SECONDS = 300
# A pod that is told to end has little time left; so long is waited for the request that the signal itself sent.
CANCEL_SECONDS = 5.0
SENT_SECONDS = 2.0


class ClusterBackend:
    """One job on a cluster.

    Args:
        job: what to run.
        backend: pytorchjob or trainjob.
        cluster: the API; by default that of the pod or the kubeconfig.
        poll: how often the job is looked at.
    """

    def __init__(
        self, job: Job, backend: str, *, cluster: Cluster | None = None, poll: PollInterval | None = None
    ) -> None:
        self._job, self._poll = job, poll or PollInterval()
        self._kind, self._build = BUILDERS[backend]
        self._cluster = cluster or Cluster(job.settings.namespace)
        self._archive = LogArchive(self._cluster, self._kind, job.output, job.settings.processes_of_a_pod)
        self._prepared: PreparedDelete | None = None
        self._built: Mapping[str, Any] = {}
        self._found: Mapping[str, Any] | None = None
        self._name = ""

    @cached_property
    def _around(self) -> LaunchContext:
        try:
            return discover_context(self._cluster)
        except KubernetesError as error:
            raise explained(error, "this step's own pod cannot be looked at") from None

    def build(self) -> dict[str, Any]:
        """The manifest."""
        if hint := self._store_hint:
            logger.warning(f"note: {hint}")
        return self._build(make_pod_spec_inputs(self._job, self._around))

    @contextmanager
    def cancelled_on_signals(self) -> Iterator[None]:
        """Within the block SIGTERM and Ctrl-C delete the job: at once, and again where that is not known to work."""
        if access := self._cluster.access():
            # without it only the usual way is left, which is slower
            with suppress(OSError):
                self._prepared = PreparedDelete(access)
        try:
            with cancelled_on_signals(self._signalled):
                yield
        finally:
            if self._prepared:
                self._prepared.close()
                self._prepared = None

    def submit(self, built: Mapping[str, Any]) -> None:
        """Create the job, or adopt the one that an earlier attempt of this step created.

        A job of the same name that failed or is being deleted is replaced once it is gone: there is never a second one.
        """
        self._built = built
        name = built["metadata"]["name"]
        deadline = time.monotonic() + GONE_SECONDS
        while self._found is None:
            self._aim(name)
            try:
                self._found = self._cluster.create_job(self._kind, dict(built))
                logger.info(f"job {name}: created in namespace {self._cluster.namespace}")
            except KubernetesError as error:
                if error.status != 409:
                    self._aim("")
                    raise explained(error, f"the {self._kind.name} {name} cannot be created") from None
                try:
                    self._adopt(built, deadline)
                except KubernetesError as refused:
                    self._aim("")
                    raise explained(refused, f"the {self._kind.name} {name} is there and cannot be adopted") from None
        self._aim(name, self._found["metadata"]["uid"])

    def watch(self) -> JobResult:
        """Follow it; one that was given up is deleted, so that it takes no more machines.

        One that failed only since the cluster took its pods away is started again, as often as it may be restarted.
        """
        settings, restarts = self._job.settings, 0
        while True:
            assert self._found is not None
            try:
                watch = Watch(self._cluster, self._kind, self._found, settings, self._poll, self._archive)
                ending = watch.until_the_end()
            except KubernetesError as error:
                raise explained(error, f"job {self._name} cannot be watched and goes on by itself") from None
            if not ending.disrupted or restarts == settings.backoff_limit:
                break
            restarts += 1
            logger.warning(f"note: job {self._name} failed since the cluster ended its pods; it is started again")
            self._found = None
            self.submit(self._built)
        if ending.state == "stopped":
            self.cancel()
        return ending

    def cancel(self) -> None:
        """Delete the job with one call, which must be quick: the pod that asks may be about to end."""
        if not self._name:
            return
        uid = self._found["metadata"]["uid"] if self._found else ""
        try:
            # A connection of its own: the one in use may be in the middle of an answer.
            cluster = Cluster(self._cluster.namespace, patience=CANCEL_SECONDS, first_wait=0.2)
            deleted = cluster.delete_job(self._kind, self._name, uid)
        except KubernetesError as error:
            logger.warning(f"job {self._name} could not be deleted ({error}); delete it by hand")
            return
        if deleted:
            logger.info(f"job {self._name}: deleted")

    def result(self, ending: JobResult) -> None:
        """Success needs a job that succeeded and an output that this run finished."""
        if ending.state != "succeeded" and self.logs:
            logger.info(f"output of the job's pods: {self.logs}")
        raise_failure(self._name, ending, self._store_hint)
        check_output(self._job.output, self._around.run)

    @property
    def logs(self) -> str:
        """Where the output of its pods is."""
        return self._archive.address if self._archive.saved else ""

    def _signalled(self) -> None:
        status = self._prepared.status(SENT_SECONDS) if self._prepared else None
        if status is not None and status < 300:
            logger.info(f"job {self._name}: deleted")
        else:
            self.cancel()

    def _aim(self, name: str, uid: str = "") -> None:
        """From now on this job is ours, or none is."""
        self._name = name
        if self._prepared:
            self._prepared.aim(*(self._cluster.deletion(self._kind, name, uid) if name else ("", {})))

    @cached_property
    def _store_hint(self) -> str:
        return store_hint(self._around, self._job.arguments.values())

    def _adopt(self, built: Mapping[str, Any], deadline: float) -> None:
        name = self._name
        found = self._cluster.get_job(self._kind, name)
        if found is None:
            return
        meta = found["metadata"]
        if not meta.get("deletionTimestamp"):
            wanted = built["metadata"]["annotations"][HASH_ANNOTATION]
            if (meta.get("annotations") or {}).get(HASH_ANNOTATION) != wanted:
                self._aim("")
                lines = list(differences(built["spec"], found["spec"]))
                lines += differences(built["metadata"]["labels"], meta.get("labels") or {}, "labels")
                what = "; ".join(lines[:10]) or "something that is no longer asked for"
                raise StepFailed(f"{self._kind.name} {name} exists already and is another job: {what}")
            if phase_of(self._kind, found)[0] != "failed":
                self._found = found
                logger.info(f"job {name}: adopted, an earlier attempt of this step created it")
                return
            logger.info(f"job {name}: an earlier attempt failed; its job is replaced")
            self._cluster.delete_job(self._kind, name, meta["uid"], wait_for_pods=True)
        if time.monotonic() > deadline:
            raise StepFailed(f"{self._kind.name} {name} is being deleted, but does not go; see its finalizers")
        time.sleep(self._poll.shortest)
