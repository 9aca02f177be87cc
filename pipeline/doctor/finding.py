"""What a check says, and what it is asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.cluster.settings import ConnectionSettings
from pipeline.parameters import Settings
from sharpen.jobs.cluster_probe import Survey

State = Literal["pass", "fail", "warn", "not checked"]


@dataclass(frozen=True)
class Finding:
    """One row of the table.

    Attributes:
        check: what was looked at.
        state: fail: a run cannot succeed; warn: it may not, or less safely; not checked: it cannot be seen from here.
        found: what there is, in a line.
        mend: command, or words, that mend it; only where something is to be done.
    """

    check: str
    state: State
    found: str
    mend: str = ""


@dataclass(frozen=True)
class Visit:
    """The cluster and the configuration that it shall run.

    Attributes:
        runs: the namespace that runs execute in.
        jobs: the namespace of the training jobs, usually the same.
        settings: of the run.
        account: service account of the run's steps.
        connection: to the Kubeflow Pipelines API; without an endpoint it is asked through the API server.
        image: image of the steps; empty: not known.
        launcher_image: image of the steps that compute nothing; empty: `image`.
        pull: start pods that use images and store.
    """

    runs: Survey
    jobs: Survey
    settings: Settings
    account: str
    connection: ConnectionSettings
    image: str = ""
    launcher_image: str = ""
    pull: bool = False

    @property
    def surveys(self) -> list[Survey]:
        """The namespaces of runs and jobs, each once."""
        return list({survey.namespace: survey for survey in (self.runs, self.jobs)}.values())

    @property
    def backend(self) -> str:
        """What starts the processes of a job on a cluster."""
        chosen = self.settings.job.backend
        return "pytorchjob" if chosen == "auto" else chosen

    @property
    def job_image(self) -> str:
        """Image of the training pods; empty: not known."""
        return self.settings.job.image or self.image


Check = Callable[[Visit], Iterator[Finding]]
