"""Runs of the tests: submitted by the command that a user has, followed in the cluster, ended, and removed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pipeline.cluster import experiments, runs, schedules
from pipeline.cluster.api.client import Api, Object
from pipeline.cluster.api.errors import KfpError
from pipeline.cluster.runs import FINISHED
from pipeline.cluster.waiting import WORDS
from pipeline.graph import PIPELINE_NAME
from pipeline.pods import LABELS
from sharpen.jobs.kubernetes.errors import KubernetesError
from sharpen.jobs.manifests.kinds import Kind
from sharpen.uri import join
from tests.cluster.command import Command, Line
from tests.cluster.environment import Environment
from tests.cluster.live_cluster import LiveCluster
from tests.cluster.waiting import wait_for

# "Training: 12 % · 5/40 steps · ...", and after a restart "Training from step 8: ..."
STEPS_DONE = re.compile(r"Training.*?\s([\d,]+)/[\d,]+ steps")
RESUMED = re.compile(r"Training from step ([\d,]+)")
_RUN_LINE = re.compile(r"^run:\s+\S+\s+(?P<id>[0-9a-f-]{36})$", re.MULTILINE)


class Run:
    """A run that was submitted and is waited for.

    Args:
        command: the `sharpen submit --wait` that made it.
        cluster: where it executes.
        api: Kubeflow Pipelines.
    """

    def __init__(self, command: Command, cluster: LiveCluster, api: Api) -> None:
        self.command, self._cluster, self._api = command, cluster, api
        command.line(r"^run: ", 120)
        found = _RUN_LINE.search(command.text)
        assert found, command.text
        self.id = found["id"]

    def step(self, title: str, seconds: float) -> Line:
        """The line that tells that a step runs, or failed before it was seen to run."""
        return self.command.line(rf"\s{title}: ({WORDS['RUNNING']}|{WORDS['FAILED']})", seconds)

    def state(self) -> str:
        """The run's state, as the API says."""
        return runs.state(runs.get(self._api, self.id))

    def over(self) -> str:
        """Why there is no use in waiting for something in the run; empty: it goes on."""
        code = self.command.process.poll()
        return "" if code is None else f"the run's command ended with exit code {code}\n{self.command.text}"

    def job(self, seconds: float) -> tuple[Kind, Object]:
        """Its training job, once there is one."""
        return self._wait("training job", lambda: self._cluster.job_of_run(self.id), seconds)

    def training_pods(self, count: int, seconds: float, *, but: Collection[str] = ()) -> list[Object]:
        """Pods of its training job that run.

        Args:
            count: how many.
            seconds: deadline.
            but: uids of pods that do not count.
        """

        def look() -> list[Object]:
            found = [pod for pod in self._cluster.training_pods(self.id) if pod["metadata"]["uid"] not in but]
            found = [pod for pod in found if (pod.get("status") or {}).get("phase") == "Running"]
            return found if len(found) >= count else []

        return self._wait(f"{count} pods of the training", look, seconds)

    def trained(self, steps: int, seconds: float) -> int:
        """The number of steps that were trained, once there are so many."""
        return self._wait(f"training after {steps} steps", lambda: self._found(STEPS_DONE, steps), seconds)

    def resumed(self, seconds: float, *, but: Collection[str] = ()) -> int:
        """The step from which training went on in pods that are not among these, by uid."""
        return self._wait("training that goes on", lambda: self._found(RESUMED, 1, but), seconds)

    def _found(self, pattern: re.Pattern[str], least: int, but: Collection[str] = ()) -> int:
        for pod in self._cluster.training_pods(self.id):
            if pod["metadata"]["uid"] in but:
                continue
            container = pod["spec"]["containers"][0]["name"]
            for line in reversed(self._cluster.log_lines(pod["metadata"]["name"], container, 200)):
                if (found := pattern.search(line)) and int(found[1].replace(",", "")) >= least:
                    return int(found[1].replace(",", ""))
        return 0

    def _wait(self, what: str, look: Callable[[], Any], seconds: float) -> Any:
        return wait_for(what, look, seconds, stop=self.over)


class Session:
    """One pass over the tests: names and addresses that nothing else has, and the end of all that was made under them.

    Args:
        environment: the cluster.
        cluster: its API, in the namespace that runs execute in.
        api: Kubeflow Pipelines.
        store: address below which the session writes.
        folder: that commands run in.
    """

    def __init__(self, environment: Environment, cluster: LiveCluster, api: Api, store: str, folder: Path) -> None:
        self.environment, self.cluster, self.api, self.folder = environment, cluster, api, folder
        self.name = f"sharpen-test-{cluster.session}"
        self.store = f"{store}/{self.name}"
        # a cached result must be one of this session: what earlier ones made is gone
        self.seed = random.SystemRandom().randrange(2**30)
        self.runs: list[str] = []
        self._seeds = 0

    @property
    def connection(self) -> list[str]:
        """Options of every command for the cluster."""
        namespace = ["--namespace", self.api.namespace] if self.api.namespace else []
        return ["--endpoint", self.environment.endpoint, *namespace]

    @property
    def labels(self) -> list[str]:
        """Options that keep runs and schedules of the session apart from others."""
        return ["--experiment", self.name]

    @property
    def images(self) -> list[str]:
        """Options that name the images."""
        launcher = self.environment.launcher_image
        return ["--image", self.environment.image, *(["--launcher-image", launcher] if launcher else [])]

    @property
    def small_image(self) -> str:
        """The image of programs that need no torch."""
        return self.environment.launcher_image or self.environment.image

    def settings(self, *assignments: str, model: str = "") -> list[str]:
        """Options with the settings of a run.

        Args:
            assignments: ``name=value``; of two for one name the later wins.
            model: tells its model from the session's other models; what runs of one model did, its later ones look at.
        """
        name = f"{self.name}-{model}" if model else self.name
        given = [f"store={self.store}", f"model_name={name}", f"data.seed={self.seed}", *assignments]
        return ["--config", self.environment.config, *(part for one in given for part in ("--set", one))]

    def new_training(self) -> str:
        """A setting that no run of the session had, so that nothing trained before stands for its training."""
        self._seeds += 1
        return f"training.seed={self.seed + self._seeds}"

    def sharpen(self, *arguments: str) -> Command:
        """A command for this cluster, started."""
        return Command([*arguments, *self.connection], self.folder)

    def submit(self, cleanup: ExitStack, *assignments: str, model: str = "") -> Run:
        """`sharpen submit --wait` of a run.

        Args:
            cleanup: ends the command and the run.
            assignments: as in `settings`.
            model: as in `settings`.
        """
        name = f"{self.name}-{len(self.runs) + 1}"
        command = self.sharpen(
            *("submit", "--wait", "--run-name", name, "--pipeline-name", self.name),
            *("--service-account", self.environment.account),
            *(*self.images, *self.labels, *self.settings(*assignments, model=model)),
        )
        cleanup.callback(command.kill)
        run = Run(command, self.cluster, self.api)
        self.runs.append(run.id)
        cleanup.callback(self.end, run.id)
        return run

    def end(self, run: str) -> None:
        """Cancel a run if it goes on, and see that it and its job are over."""
        if runs.state(runs.get(self.api, run)) not in FINISHED:
            runs.cancel(self.api, runs.get(self.api, run))
        wait_for(f"end of run {run}", lambda: runs.state(runs.get(self.api, run)) in FINISHED, 300)
        found = self.cluster.job_of_run(run)
        if found:
            kind, job = found
            self.cluster.delete(kind.plural, job["metadata"]["name"], kind.api_version)

    def close(self) -> None:
        """Remove schedules, runs, experiment, pipeline and files of the session; what cannot be is told in the end."""
        faults: list[str] = []
        group = experiments.find(self.api, self.name)
        for what, act in (
            ("schedules", lambda: self._remove_schedules(group)),
            ("runs", lambda: self._remove_runs(group)),
            ("experiment", lambda: self._remove_experiment(group)),
            ("pipeline", self._remove_pipeline),
            ("files in the store", self._remove_files),
        ):
            try:
                act()
            except (AssertionError, KfpError, KubernetesError, OSError) as error:
                faults.append(f"{what}: {error}")
        assert not faults, f"left behind by {self.name}: {'; '.join(faults)}"

    def _remove_schedules(self, group: str | None) -> None:
        for one in list(schedules.listed(self.api, group)) if group else []:
            schedules.remove(self.api, one)

    def _remove_runs(self, group: str | None) -> None:
        # those that schedules started too
        for run in runs.latest(self.api, group, 1000) if group else []:
            identity = str(run["run_id"])
            self.runs += [identity] if identity not in self.runs else []
            self.end(identity)
            self.api.call("delete the run", self.api.runs.run_service_delete_run, run_id=identity)

    def _remove_experiment(self, group: str | None) -> None:
        if group:
            delete = self.api.experiments.experiment_service_delete_experiment
            self.api.call("delete the experiment", delete, experiment_id=group)

    def _remove_pipeline(self) -> None:
        list_pipelines = self.api.pipelines.pipeline_service_list_pipelines
        for found in self.api.paginate("list pipelines", "pipelines", list_pipelines):
            if found.get("display_name") == self.name:
                delete = self.api.pipelines.pipeline_service_delete_pipeline
                self.api.call("delete the pipeline", delete, pipeline_id=found["pipeline_id"], cascade="true")

    def _remove_files(self) -> None:
        """From a pod, since the store may be reachable only there."""
        config = self.cluster.data("configmaps", "kfp-launcher") or {}
        root = config.get("defaultPipelineRoot") or "minio://mlpipeline/v2/artifacts"
        addresses = [self.store, *(join(root, PIPELINE_NAME, run) for run in self.runs)]
        self.in_pod("files", f"from sharpen.store import storage\nfor it in {addresses!r}:\n    storage.delete(it)\n")

    def in_pod(self, name: str, program: str) -> str:
        """What a Python program printed in a pod that may what a step may."""
        return self.cluster.output(name, self.small_image, program, LABELS, account=self.environment.account)
