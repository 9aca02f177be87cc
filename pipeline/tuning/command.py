"""`sharpen tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cluster.options import (
    Assignments,
    Backend,
    Config,
    Image,
    LauncherImage,
    Preset,
    ServiceAccount,
    show_preset,
    with_backend,
)
from sharpen.errors import InputError
from sharpen.tuning.settings import TuningSettings


def _option(name: str) -> Any:
    """The option of a setting of the search; its help and default are the setting's."""
    field = TuningSettings.model_fields[name]
    default = f" Default: {field.default}." if field.default is not None else ""
    return typer.Option(f"--{name.replace('_', '-')}", help=f"{field.description}{default}")


SpaceFile = Annotated[
    Path | None,
    typer.Option(
        "--space", help="YAML file with what is searched: name: LOW..HIGH, LOW..HIGH:log, or a list of values."
    ),
]
Searched = Annotated[
    list[str] | None,
    typer.Option(
        "--search",
        metavar="NAME=VALUES",
        help="A setting to search, such as training.learning_rate=1e-6..1e-4:log or training.train_group_size=2,8; "
        "may be repeated. Without --space and --search a space by the kind of model.",
    ),
]


@with_backend
def tune(
    backend: Backend,
    config: Config = None,
    assignments: Assignments = None,
    preset: Preset = "",
    space: SpaceFile = None,
    search: Searched = None,
    trials: Annotated[int | None, _option("trials")] = None,
    minutes: Annotated[float | None, _option("minutes")] = None,
    evaluations: Annotated[int | None, _option("evaluations")] = None,
    pruning: Annotated[str | None, _option("pruning")] = None,
    reduction_factor: Annotated[int | None, _option("reduction_factor")] = None,
    repeats: Annotated[int | None, _option("repeats")] = None,
    second: Annotated[str | None, _option("second")] = None,
    guard_data: Annotated[str | None, _option("guard_data")] = None,
    seed: Annotated[int | None, _option("seed")] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder", help="Folder of the search, which goes on there. Default: .sharpen/tune/<model_name>."
        ),
    ] = None,
    cluster: Annotated[
        bool,
        typer.Option("--cluster/--here", help="Try each setting as a run on a cluster, in which nothing is promoted."),
    ] = False,
    parallel: Annotated[int, typer.Option("--parallel", min=1, max=1000, help="With --cluster: runs at a time.")] = 1,
    image: Image = "",
    launcher_image: LauncherImage = "",
    experiment: Annotated[
        str, typer.Option("--experiment", help="With --cluster: experiment of the runs. Default: <model_name>-tune.")
    ] = "",
    service_account: ServiceAccount = "",
) -> None:
    """Search for the settings that give the best dev score, on this machine or a cluster; goes on where it was."""
    from pipeline import parameters

    given = {name: value for name, value in locals().items() if name in TuningSettings.model_fields}
    tuning = TuningSettings.checked({name: value for name, value in given.items() if value is not None})
    settings = parameters.load(config, assignments or [], preset=preset, on_cluster=cluster)
    show_preset(settings)
    searched = (settings, tuning, space, search or [], folder)
    if cluster:
        from pipeline.tuning import cluster as on_cluster

        options = on_cluster.ClusterOptions(image, launcher_image, parallel, experiment, service_account)
        on_cluster.search(*searched, backend, options)
        return
    of_cluster = {"--parallel": parallel > 1, "--image": image, "--launcher-image": launcher_image}
    of_cluster |= {"--experiment": experiment, "--service-account": service_account}
    if faults := [f"{name}: only with --cluster" for name, given in of_cluster.items() if given]:
        raise InputError(faults)
    from pipeline.tuning import local

    local.search(*searched)
