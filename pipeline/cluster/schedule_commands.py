"""`sharpen schedule`: one schedule by hand, or all of them from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cluster.commands import EXPERIMENT, PIPELINE
from pipeline.cluster.options import (
    Assignments,
    Backend,
    Config,
    Experiment,
    Image,
    LauncherImage,
    PipelineName,
    Preset,
    ServiceAccount,
    show_preset,
    with_backend,
)
from sharpen.errors import InputError

if TYPE_CHECKING:
    from pipeline.cluster.api.client import Api
    from pipeline.cluster.schedules import DesiredSchedule, ScheduleFile
    from pipeline.parameters import Settings

schedule = typer.Typer(help="Runs that a cluster starts by itself.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name or id of the schedule.")]
Zone = Annotated[
    str,
    typer.Option(
        "--time-zone",
        envvar="CRON_SCHEDULE_TIMEZONE",
        help="Time zone that the server reads schedules in, its CRON_SCHEDULE_TIMEZONE; only for what is printed here.",
    ),
]


@schedule.command()
@with_backend
def create(
    backend: Backend,
    name: Annotated[str, typer.Argument(help="Name of the schedule.")],
    cron: Annotated[str, typer.Option("--cron", help="Five fields as in cron(8), as '0 2 * * *'; or @daily.")] = "",
    every: Annotated[str, typer.Option("--every", help="Interval instead, such as 6h or 1d12h.")] = "",
    config: Config = None,
    assignments: Assignments = None,
    image: Image = "",
    launcher_image: LauncherImage = "",
    start: Annotated[str, typer.Option("--start", help="No run before, such as 2027-01-31T00:00:00Z.")] = "",
    end: Annotated[str, typer.Option("--end", help="No run after.")] = "",
    max_concurrency: Annotated[int, typer.Option("--max-concurrency", help="How many runs at a time, 1 to 10.")] = 1,
    catchup: Annotated[bool, typer.Option("--catchup", help="Make up for runs that were missed in a pause.")] = False,
    disabled: Annotated[bool, typer.Option("--disabled", help="Create it paused.")] = False,
    experiment: Experiment = EXPERIMENT,
    pipeline_name: PipelineName = PIPELINE,
    service_account: ServiceAccount = "",
    zone: Zone = "UTC",
    preset: Preset = "",
) -> None:
    """Create a schedule; one of the same content is left as it is."""
    from pipeline import parameters
    from pipeline.cluster.schedules import ScheduleFile

    one = {
        "name": name,
        "cron": cron,
        "every": every,
        "start": start or None,
        "end": end or None,
        "enabled": not disabled,
        "max_concurrency": max_concurrency,
        "no_catchup": not catchup,
        "service_account": service_account,
    }
    wanted = ScheduleFile.checked(
        {
            "experiment": experiment,
            "image": image,
            "launcher_image": launcher_image,
            "pipeline_name": pipeline_name,
            "schedules": [one],
        }
    )
    settings = parameters.load(config, assignments or [], preset=preset, on_cluster=True)
    show_preset(settings)
    _make(backend, wanted, [settings], zone, replace=False)


@schedule.command()
@with_backend
def apply(
    backend: Backend,
    file: Annotated[Path, typer.Argument(help="YAML file with schedules.")],
    prune: Annotated[bool, typer.Option("--prune", help="Delete those of ours that the file does not name.")] = False,
    image: Image = "",
    launcher_image: LauncherImage = "",
    zone: Zone = "UTC",
) -> None:
    """Make the schedules of an experiment those of a file: create, replace, pause, resume, leave alone."""
    from pipeline.cluster import schedules, show

    wanted, settings = _read(file, image, launcher_image)
    _make(backend, wanted, settings, zone, replace=True)
    if prune:
        from pipeline.cluster import experiments

        api = backend.open()
        kept = {one.name for one in wanted.schedules}
        for one in schedules.listed(api, experiments.find_or_create(api, wanted.experiment)):
            if schedules.hash_of(one) and one.get("display_name") not in kept:
                schedules.remove(api, one)
                show.line(f"{one.get('display_name')}: deleted, {file} does not name it", "")


@schedule.command("list")
@with_backend
def list_schedules(backend: Backend, experiment: Experiment = EXPERIMENT, zone: Zone = "UTC") -> None:
    """List the schedules of an experiment and when they fire next."""
    from pipeline.cluster import experiments, schedules, show

    api = backend.open()
    group = experiments.find(api, experiment)
    found = schedules.listed(api, group) if group else []
    if found:
        show.schedules_table(found, zone)
    else:
        show.line(f"no schedules in the experiment {experiment}", "")


@schedule.command()
@with_backend
def pause(backend: Backend, name: Name, experiment: Experiment = EXPERIMENT) -> None:
    """Let a schedule start nothing until it is resumed; runs that go on are left alone."""
    _switch(backend, name, experiment, on=False)


@schedule.command()
@with_backend
def resume(backend: Backend, name: Name, experiment: Experiment = EXPERIMENT) -> None:
    """Let a paused schedule start runs again."""
    _switch(backend, name, experiment, on=True)


@schedule.command()
@with_backend
def delete(backend: Backend, name: Name, experiment: Experiment = EXPERIMENT) -> None:
    """Delete a schedule; its runs stay."""
    from pipeline.cluster import experiments, schedules, show

    api = backend.open()
    one = schedules.named(api, experiments.existing(api, experiment), name)
    schedules.remove(api, one)
    show.line(f"{one.get('display_name')}: deleted", "")


def _switch(backend: Backend, name: str, experiment: str, *, on: bool) -> None:
    from pipeline.cluster import experiments, schedules, show

    api = backend.open()
    one = schedules.named(api, experiments.existing(api, experiment), name)
    word = "enabled" if on else "paused"
    if schedules.is_enabled(one) == on:
        show.line(f"{one.get('display_name')}: was {word} already", "")
        return
    schedules.switch(api, one, on=on)
    show.line(f"{one.get('display_name')}: {word}", "")


def _read(file: Path, image: str, launcher_image: str) -> tuple[ScheduleFile, list[Settings]]:
    """The file's schedules and the settings of each, every fault of all of them in one go."""
    from pipeline import parameters
    from pipeline.cluster.schedules import ScheduleFile
    from sharpen.store.yaml_file import read_yaml

    values = read_yaml(file)
    values |= {name: given for name, given in (("image", image), ("launcher_image", launcher_image)) if given}
    try:
        wanted = ScheduleFile.checked(values)
    except InputError as error:
        raise InputError([f"{file}: {line}" for line in error.faults]) from None
    settings, faults = [], []
    for one in wanted.schedules:
        try:
            config = file.parent / one.config if one.config else None
            settings.append(parameters.load(config, over=one.settings, on_cluster=True))
            show_preset(settings[-1])
        except InputError as error:
            faults += [f"{file}: {one.name}: {line}" for line in error.faults]
    if faults:
        raise InputError(faults)
    return wanted, settings


def _make(backend: Backend, wanted: ScheduleFile, settings: list[Settings], zone: str, *, replace: bool) -> None:
    """Bring the schedules to the server, after everything that can be wrong here was looked at."""
    from pipeline.cluster import experiments, schedules, show
    from pipeline.cluster.cron import next_runs
    from pipeline.cluster.submitting import check_submittable

    next_runs("* * * * *", 1, zone=zone)
    faults = []
    for one, chosen in zip(wanted.schedules, settings, strict=True):
        try:
            check_submittable(chosen)
        except InputError as error:
            faults += [f"{one.name}: {line}" for line in error.faults]
    if not wanted.image:
        faults.append("image: name the image of the steps, which the cluster can pull; images/README.md makes it")
    if faults:
        raise InputError(faults)
    api = backend.open()
    group = experiments.find_or_create(api, wanted.experiment)
    present = schedules.listed(api, group)
    for one in _complete(api, wanted, settings, group):
        if not replace:
            _refuse_another(present, one)
        done = schedules.reconcile(api, one, present)
        paused = "" if one.schedule.enabled else ", paused"
        show.line(f"{one.schedule.name}: {done}{paused if done in ('created', 'replaced') else ''}", "")
        if one.schedule.enabled:
            show.next_runs(one.schedule, zone)


def _complete(api: Api, wanted: ScheduleFile, settings: list[Settings], experiment: str) -> list[DesiredSchedule]:
    """The schedules with their pipeline's version, compiled once for each shape of the graph."""
    from pipeline.cluster.compiled_settings import compile_time_settings
    from pipeline.cluster.schedules import DesiredSchedule
    from pipeline.cluster.versions import version_of
    from pipeline.parameters import Settings

    versions = {}
    complete = []
    for one, chosen in zip(wanted.schedules, settings, strict=True):
        shape = compile_time_settings(chosen, Settings.checked({})).model_dump_json()
        if shape not in versions:
            versions[shape] = version_of(
                api,
                chosen,
                image=wanted.image,
                launcher_image=wanted.launcher_image,
                pipeline_name=wanted.pipeline_name,
            )
        complete.append(DesiredSchedule(one, chosen, versions[shape], experiment))
    return complete


def _refuse_another(present: list[dict[str, object]], wanted: DesiredSchedule) -> None:
    from pipeline.cluster import schedules

    name = wanted.schedule.name
    if [one for one in present if one.get("display_name") == name and schedules.hash_of(one) not in ("", wanted.hash)]:
        raise InputError(
            f"{name}: exists with other content; delete it first, or keep schedules in a file and use "
            "`sharpen schedule apply`"
        )
