"""`sharpen submit`, `sharpen status`, `sharpen cancel` and `sharpen retry`."""

from __future__ import annotations

from typing import Annotated

import typer

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

EXPERIMENT = PIPELINE = "sharpen"


@with_backend
def submit(
    backend: Backend,
    config: Config = None,
    assignments: Assignments = None,
    image: Image = "",
    launcher_image: LauncherImage = "",
    experiment: Experiment = EXPERIMENT,
    run_name: Annotated[str, typer.Option("--run-name", help="Name of the run. Empty: the model's and the time.")] = "",
    pipeline_name: PipelineName = PIPELINE,
    service_account: ServiceAccount = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the run's end and tell its steps.")] = False,
    preset: Preset = "",
) -> None:
    """Run the pipeline on a cluster; a version is uploaded only if there is none of its content yet."""
    from pipeline import parameters
    from pipeline.cluster import experiments, show
    from pipeline.cluster.submitting import check_submittable, create_run
    from pipeline.cluster.versions import version_of

    settings = parameters.load(config, assignments or [], preset=preset, on_cluster=True)
    show_preset(settings)
    check_submittable(settings)
    if not image:
        raise InputError("--image: name the image of the steps, which the cluster can pull; images/README.md makes it")
    api = backend.open()
    # a file's settings become the form's defaults; those of --set are this run's alone, so a sweep stays one version
    form = parameters.load(config, on_cluster=True) if config else None
    version = version_of(
        api, settings, form=form, pipeline_name=pipeline_name, image=image, launcher_image=launcher_image
    )
    show.line(f"version:  {version.name}{' (uploaded)' if version.uploaded else ' (was there)'}", "")
    group = experiments.find_or_create(api, experiment)
    run = create_run(api, settings, version, experiment=group, name=run_name, service_account=service_account)
    identity = str(run["run_id"])
    show.line(f"run:      {run.get('display_name')} {identity}", "")
    show.line(f"page:     {api.link('runs', identity)}", "")
    if wait:
        _wait(backend, identity)
    else:
        show.line(f"next:     sharpen status {identity}{backend.options}", "")


@with_backend
def status(
    backend: Backend,
    run: Annotated[str, typer.Argument(help="Id or name of a run. Not given: the latest runs.")] = "",
    experiment: Experiment = EXPERIMENT,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=200, help="How many of the latest runs.")] = 10,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the run's end and tell its steps.")] = False,
) -> None:
    """Show the latest runs on a cluster, or the steps of one."""
    from pipeline.cluster import experiments, runs, show

    if wait and not run:
        raise InputError("--wait: name the run to wait for")
    api = backend.open()
    group = experiments.find(api, experiment)
    if run:
        found = runs.find(api, run, experiment=group)
        if wait:
            _wait(backend, str(found["run_id"]))
        else:
            show.one_run(api, found, _retry(backend, str(found["run_id"])))
        return
    latest = runs.latest(api, group, count) if group else []
    if not latest:
        show.line(f"no runs in the experiment {experiment} yet; `sharpen submit` makes one", "")
        return
    show.runs_table(latest)


@with_backend
def cancel(
    backend: Backend,
    run: Annotated[str, typer.Argument(help="Id or name of the run.")] = "",
    every: Annotated[bool, typer.Option("--all", help="All runs of the experiment that have not ended.")] = False,
    experiment: Experiment = EXPERIMENT,
) -> None:
    """End a run on a cluster; its training job is deleted at once."""
    from pipeline.cluster import experiments, runs, show

    if bool(run) == every:
        raise InputError("name one run, or give --all")
    api = backend.open()
    group = experiments.find(api, experiment)
    if run:
        chosen = [runs.find(api, run, experiment=group)]
    else:
        chosen = list(runs.unfinished(api, group)) if group else []
        if not chosen:
            show.line(f"no run of the experiment {experiment} is going on", "")
    for one in chosen:
        if ended := runs.cancel(api, one):
            show.line(f"{one.get('display_name')}: had ended already ({runs.in_words(ended)})", "")
        else:
            show.line(f"{one.get('display_name')}: is being cancelled", "CANCELED")


@with_backend
def retry(
    backend: Backend,
    run: Annotated[str, typer.Argument(help="Id or name of the run.")],
    experiment: Experiment = EXPERIMENT,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the run's end and tell its steps.")] = False,
) -> None:
    """Let a run on a cluster that failed or was cancelled go on: steps that succeeded are not done again."""
    from pipeline.cluster import experiments, runs, show, waiting

    api = backend.open()
    found = runs.find(api, run, experiment=experiments.find(api, experiment))
    identity = str(found["run_id"])
    runs.retry(api, found)
    show.line(f"{found.get('display_name')}: goes on", "RUNNING")
    if not wait:
        show.line(f"next:     sharpen status {identity}{backend.options}", "")
        return
    waiting.until_it_goes_on(api, identity)
    _wait(backend, identity)


def _wait(backend: Backend, identity: str) -> None:
    from pipeline.cluster import show, waiting

    try:
        waiting.wait(backend.open(), identity, show.line, retry=_retry(backend, identity))
    except KeyboardInterrupt:
        show.line("\nno longer waiting; the run goes on", "")
        show.line(f"  cancel it: sharpen cancel {identity}{backend.options}", "")
        show.line(f"  wait on:   sharpen status {identity} --wait{backend.options}", "")
        raise typer.Exit(130) from None


def _retry(backend: Backend, identity: str) -> str:
    return f"sharpen retry {identity}{backend.options}"
