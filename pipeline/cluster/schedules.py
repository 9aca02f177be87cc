"""Schedules on the server (recurring runs), made from settings and kept equal to a file.

The server cannot edit a schedule. So what changes is made anew and the old one removed, in an order that leaves at no
time none. A schedule of ours says so in its description, with a hash of its content; others are never touched.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Self

from pydantic import AwareDatetime, Field, field_validator, model_validator

from pipeline.cluster import cron
from pipeline.cluster.api.client import Api, Object
from pipeline.cluster.api.errors import KfpError
from pipeline.cluster.versions import Version
from pipeline.parameters import Settings
from pipeline.run_form import run_inputs
from sharpen.errors import InputError, StepFailed
from sharpen.settings import SettingsModel

_MARK = re.compile(r"\[sharpen schedule ([0-9a-f]{16})\]$")


class ScheduleSettings(SettingsModel):
    """When the pipeline runs by itself, and with which settings."""

    name: str = Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="Name of the schedule; its runs begin with it."
    )
    cron: str = Field(
        "",
        description="Minute, hour, day of month, month, day of week, as in cron(8), in the server's time zone; or "
        "@daily and the like.",
    )
    every: str = Field("", description="Interval from run to run instead of cron, such as 6h or 1d12h.")
    enabled: bool = Field(True, description="false: the schedule exists and starts nothing.")
    max_concurrency: int = Field(1, ge=1, le=10, description="How many of its runs may go on at the same time.")
    no_catchup: bool = Field(
        True, description="Leave out runs that were missed while the schedule was paused. false: make up for each."
    )
    start: AwareDatetime | None = Field(None, description="No run before this time, such as 2027-01-31T00:00:00Z.")
    end: AwareDatetime | None = Field(None, description="No run after this time.")
    service_account: str = Field(
        "", pattern=r"^[a-z0-9.-]{0,253}$", description="Account of the steps' pods. Empty: the server's default."
    )
    config: str = Field("", description="YAML file with settings of the runs, relative to the file of schedules.")
    settings: dict[str, Any] = Field({}, description="Settings of the runs, above those of config.")

    @field_validator("cron")
    @classmethod
    def _cron(cls, value: str) -> str:
        _as_value_error(cron.six_fields, value)
        return value

    @field_validator("every")
    @classmethod
    def _every(cls, value: str) -> str:
        _as_value_error(cron.interval_seconds, value)
        return value

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        if bool(self.cron) == bool(self.every):
            raise ValueError("give either cron or every")
        if self.start and self.end and self.start >= self.end:
            raise ValueError(f"end {self.end.isoformat()} is not after start {self.start.isoformat()}")
        return self

    @property
    def trigger(self) -> Object:
        """When it fires, as the API writes it."""
        limits = {"start_time": _stamp(self.start), "end_time": _stamp(self.end)}
        given = {name: value for name, value in limits.items() if value}
        if self.every:
            return {"periodic_schedule": {"interval_second": str(cron.interval_seconds(self.every)), **given}}
        return {"cron_schedule": {"cron": cron.six_fields(self.cron), **given}}


class ScheduleFile(SettingsModel):
    """A file of schedules, all of one experiment and one image."""

    experiment: str = Field("sharpen", min_length=1, max_length=128, description="Experiment of the schedules.")
    image: str = Field("", description="Image of the steps, with a digest or a tag that never moves.")
    launcher_image: str = Field("", description="Smaller image of the steps that compute nothing. Empty: image.")
    pipeline_name: str = Field(
        "sharpen", pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", description="Name of the pipeline on the server."
    )
    schedules: list[ScheduleSettings] = Field(description="The schedules.")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [schedule.name for schedule in self.schedules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"schedules: {', '.join(twice)}: named twice")
        return self


@dataclass(frozen=True)
class DesiredSchedule:
    """A schedule with everything that the server must be told.

    Attributes:
        schedule: when.
        settings: what with.
        version: what.
        experiment: id of the experiment.
    """

    schedule: ScheduleSettings
    settings: Settings
    version: Version
    experiment: str

    @property
    def content(self) -> Object:
        """What cannot be changed on the server, as the API writes it."""
        content: Object = {
            "display_name": self.schedule.name,
            "experiment_id": self.experiment,
            "pipeline_version_reference": self.version.reference,
            "runtime_config": {"parameters": run_inputs(self.settings)},
            "max_concurrency": str(self.schedule.max_concurrency),
            "no_catchup": self.schedule.no_catchup,
            "trigger": self.schedule.trigger,
        }
        if self.schedule.service_account:
            content["service_account"] = self.schedule.service_account
        return content

    @property
    def hash(self) -> str:
        """Equal for equal content."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def body(self) -> Object:
        """The request that creates it."""
        mode = "ENABLE" if self.schedule.enabled else "DISABLE"
        return {**self.content, "mode": mode, "description": f"Made by Sharpen. [sharpen schedule {self.hash}]"}


def listed(api: Api, experiment: str) -> list[Object]:
    """All schedules of an experiment, the oldest first."""
    found = api.paginate(
        "list schedules",
        "recurringRuns",
        api.recurring.recurring_run_service_list_recurring_runs,
        experiment_id=experiment,
    )
    return sorted(found, key=lambda one: (str(one.get("created_at")), str(one.get("recurring_run_id"))))


def hash_of(one: Object) -> str:
    """The content's hash of a schedule of ours; empty for one that somebody else made."""
    mark = _MARK.search(one.get("description") or "")
    return mark[1] if mark else ""


def is_enabled(one: Object) -> bool:
    """Whether it starts runs."""
    return one.get("status") == "ENABLED"


def named(api: Api, experiment: str, name: str) -> Object:
    """Our schedule of this name or id.

    Args:
        api: the API.
        experiment: id of the experiment.
        name: name or id of the schedule.

    Raises:
        InputError: there is none, or it is not ours.
    """
    found = [one for one in listed(api, experiment) if name in (one.get("display_name"), one.get("recurring_run_id"))]
    ours = [one for one in found if hash_of(one)]
    if not found:
        raise InputError(f"{name}: no such schedule; `sharpen schedule list` shows them")
    if not ours:
        raise InputError(f"{name}: was not made by sharpen, so it is left alone; change it in {api.ui}")
    if len(ours) > 1:
        ids = ", ".join(str(one["recurring_run_id"]) for one in ours)
        raise InputError(f"{name}: {len(ours)} schedules have this name; give the id of one: {ids}")
    return ours[0]


def reconcile(api: Api, wanted: DesiredSchedule, present: list[Object]) -> str:
    """Make the server have exactly this schedule of its name; what was done, in a word.

    Args:
        api: the API.
        wanted: the schedule.
        present: all schedules of the experiment.

    Raises:
        InputError: somebody else's schedule has the name; or the server refuses.
        StepFailed: it is not known whether it was created; calling again is safe.
    """
    same_name = [one for one in present if one.get("display_name") == wanted.schedule.name]
    if [one for one in same_name if not hash_of(one)]:
        raise InputError(
            f"{wanted.schedule.name}: a schedule of this name exists that sharpen did not make; choose another name"
        )
    equal = [one for one in same_name if hash_of(one) == wanted.hash]
    others = [one for one in same_name if one not in equal[:1]]
    if not equal:
        create(api, wanted)
        done = "replaced" if others else "created"
    elif is_enabled(equal[0]) != wanted.schedule.enabled:
        switch(api, equal[0], on=wanted.schedule.enabled)
        done = "resumed" if wanted.schedule.enabled else "paused"
    else:
        done = "unchanged"
    for one in others:
        remove(api, one)
    return done


def create(api: Api, wanted: DesiredSchedule) -> None:
    """Create the schedule. Raises as `reconcile`."""
    try:
        api.call_without_retry(
            "create the schedule",
            api.recurring.recurring_run_service_create_recurring_run,
            recurring_run=wanted.body,
        )
    except KfpError as fault:
        if not fault.passing or fault.status == 429:
            raise api.explained(fault) from None
        # it may have been created all the same
        if not [one for one in listed(api, wanted.experiment) if hash_of(one) == wanted.hash]:
            raise StepFailed(f"creating the schedule {wanted.schedule.name}: {fault}; run the command again") from None


def switch(api: Api, one: Object, *, on: bool) -> None:
    """Let a schedule start runs, or not.

    Args:
        api: the API.
        one: the schedule.
        on: whether it starts runs.
    """
    service = api.recurring
    if on:
        method = service.recurring_run_service_enable_recurring_run
    else:
        method = service.recurring_run_service_disable_recurring_run
    api.call(f"{'resume' if on else 'pause'} the schedule", method, recurring_run_id=one["recurring_run_id"])


def remove(api: Api, one: Object) -> None:
    """Disable a schedule and delete it; its runs stay and go on."""
    try:
        switch(api, one, on=False)
        # its runs belong to it in the cluster, and would be deleted with it
        api.call(
            "delete the schedule",
            api.recurring.recurring_run_service_delete_recurring_run,
            recurring_run_id=one["recurring_run_id"],
            propagation_policy="ORPHAN",
        )
    except KfpError as fault:
        if fault.status != 404:
            raise


def next_times(one: Object, zone: str, count: int = 3) -> list[datetime.datetime]:
    """When a schedule fires next; none for an interval, which counts from its last run.

    Args:
        one: the schedule.
        zone: time zone that the server reads it in.
        count: how many times.
    """
    trigger = (one.get("trigger") or {}).get("cron_schedule") or {}
    if not trigger.get("cron"):
        return []
    start = trigger.get("start_time")
    after = max(datetime.datetime.now(datetime.UTC), datetime.datetime.fromisoformat(start)) if start else None
    times = cron.next_runs(cron.as_kubeflow_reads(trigger["cron"]), count, after=after, zone=zone)
    end = trigger.get("end_time")
    return [time for time in times if not end or time <= datetime.datetime.fromisoformat(end)]


def _stamp(time: datetime.datetime | None) -> str:
    return time.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if time else ""


def _as_value_error(check: Any, value: str) -> None:
    if value:
        try:
            check(value)
        except InputError as error:
            raise ValueError(str(error)) from None
