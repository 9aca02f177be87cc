"""What a check reports, and the cluster and settings that it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.doctor import remedies
from pipeline.doctor.cluster_probe import ClusterProbe
from pipeline.doctor.kubeflow_api import KubeflowAnswer
from pipeline.parameters import Settings
from pipeline.pods import STORE_CONFIG
from sharpen.jobs.manifests.kinds import KINDS, TRAINJOB, Kind

State = Literal["pass", "fail", "warn", "not checked"]


@dataclass(frozen=True)
class Finding:
    """One row of the report.

    Attributes:
        check: what was looked at.
        state: fail: a run cannot succeed; warn: it may not, or less safely; not checked: it cannot be seen from here.
        detail: one line on what there is.
        remedy: command, or words, that mend it; only where something is to be done.
    """

    check: str
    state: State
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class CheckContext:
    """A cluster, and the configuration that it shall run.

    Attributes:
        runs: the namespace that runs execute in.
        jobs: the namespace of the training jobs; `runs` itself where it is the same.
        settings: of the run.
        account: service account of the run's steps.
        kubeflow: what the Kubeflow Pipelines API says of itself.
        image: image of the steps; empty: not known.
        launcher_image: image of the steps that compute nothing; empty: `image`.
    """

    runs: ClusterProbe
    jobs: ClusterProbe
    settings: Settings
    account: str
    kubeflow: KubeflowAnswer
    image: str = ""
    launcher_image: str = ""

    @property
    def probes(self) -> list[ClusterProbe]:
        """The namespaces of runs and jobs, each once."""
        return [self.runs] if self.jobs is self.runs else [self.runs, self.jobs]

    @property
    def kind(self) -> Kind | None:
        """Kind of the training job; None where training runs in the step's own pod."""
        chosen = self.settings.job.backend
        name = "pytorchjob" if chosen == "auto" else chosen
        return next((kind for kind in KINDS if kind.name.lower() == name), None)

    def apply(self, namespace: str) -> str:
        """The command that gives a namespace the overlay that fits these settings."""
        return remedies.apply(namespace, trainer=self.kind is TRAINJOB)

    @property
    def store_config(self) -> dict[str, str]:
        """What pods are told about the store; empty where the ConfigMap is missing."""
        return self.runs.data("configmaps", STORE_CONFIG) or {}


Check = Callable[[CheckContext], Iterator[Finding]]
