"""`sharpen tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cluster.options import Assignments, Config
from sharpen.tuning.settings import TuningSettings


def _option(name: str) -> Any:
    """The option of a setting of the search; its help and default are the setting's."""
    field = TuningSettings.model_fields[name]
    default = f" Default: {field.default}." if field.default is not None else ""
    return typer.Option(f"--{name.replace('_', '-')}", help=f"{field.description}{default}")


def tune(
    config: Config = None,
    assignments: Assignments = None,
    space: Annotated[
        Path | None,
        typer.Option(
            "--space", help="YAML file with what is searched: name: LOW..HIGH, LOW..HIGH:log, or a list of values."
        ),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            "--search",
            metavar="NAME=VALUES",
            help="A setting to search, such as training.learning_rate=1e-6..1e-4:log or training.train_group_size=2,8; "
            "may be repeated. Without --space and --search a space by the kind of model.",
        ),
    ] = None,
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
) -> None:
    """Search for the settings that give the best dev score, on this machine; goes on where it was."""
    from pipeline import parameters
    from pipeline.tuning import local

    given = {name: value for name, value in locals().items() if name in TuningSettings.model_fields}
    tuning = TuningSettings.checked({name: value for name, value in given.items() if value is not None})
    settings = parameters.load(config, assignments or [])
    local.search(settings, tuning, space, search or [], folder)
