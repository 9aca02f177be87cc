"""A trial as a run on a cluster: its settings, its name, and that it is submitted once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.cluster import runs, submitting
from pipeline.cluster.api.client import Api
from pipeline.cluster.versions import Version
from pipeline.parameters import Settings
from sharpen.errors import StepFailed
from sharpen.store import storage
from sharpen.tuning.space.groups import GROUPS, Groups


@dataclass(frozen=True)
class Submission:
    """How the trials of a search are submitted.

    Attributes:
        api: of Kubeflow Pipelines.
        settings: of the run whose settings are searched.
        groups: what of them is searched.
        evaluations: looks at dev of a training.
        version: of the pipeline that ends after fine-tuning.
        experiment: id of the experiment that holds the runs.
        name: what the runs' names begin with; no other search has it.
        address: folder in the store for the trials' dev scores.
        service_account: of the steps' pods; empty: the server's default.
    """

    api: Api
    settings: Settings
    groups: Groups
    evaluations: int
    version: Version
    experiment: str
    name: str
    address: str
    service_account: str = ""

    def address_of(self, name: str) -> str:
        """Where the training of a run writes its dev scores."""
        return storage.join(self.address, f"{name}.json")

    def find(self, name: str) -> str:
        """Id of the run of this name; empty for none."""
        found = runs.latest(self.api, self.experiment, 10, name=name)
        return next((str(run["run_id"]) for run in found if run.get("storage_state") != "ARCHIVED"), "")

    def submit(self, name: str, values: Mapping[str, Any]) -> str:
        """Id of the run of this name, which is made unless there is one.

        Args:
            name: of the run.
            values: full names of settings -> their values, besides those that the search began with.

        Raises:
            InputError: the values are not allowed together, or the server refuses them.
            StepFailed: it is not known whether there is a run.
        """
        if identity := self.find(name):
            return identity
        settings = self.settings_of(name, values)
        of_run = {"experiment": self.experiment, "name": name, "service_account": self.service_account}
        try:
            run = submitting.create_run(self.api, settings, self.version, **of_run)
        except StepFailed:
            # the answer may be lost, and the run be there
            if identity := self.find(name):
                return identity
            raise
        return str(run["run_id"])

    def settings_of(self, name: str, values: Mapping[str, Any]) -> Settings:
        """The settings of a trial's run; arguments as for `submit`."""
        groups = self.groups.with_values(self.groups.changed(values))
        groups = replace(groups, training=groups.watched(self.evaluations))
        given = self.settings.model_dump(mode="json", exclude_unset=True)
        given |= {of: getattr(groups, of).model_dump(mode="json", exclude_unset=True) for of in GROUPS}
        given["training"]["dev_scores_address"] = self.address_of(name)
        # the same data in every trial, and no message for each
        given["retraining"] = {**given.get("retraining", {}), "force": True}
        given["notification"] = {**given.get("notification", {}), "on": []}
        return Settings.checked(given)
