"""Command-line options that the commands for a cluster share."""

from __future__ import annotations

import functools
import inspect
import os
import shlex
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cluster.api.settings import OPTIONS, ConnectionSettings, variable

if typing.TYPE_CHECKING:
    from pipeline.cluster.api.client import Api
    from pipeline.parameters import Settings

Config = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file with settings.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="One setting, name=value; may be repeated.", metavar="NAME=VALUE"),
]
Preset = Annotated[
    str, typer.Option("--preset", help="Settings to begin with (`sharpen presets`), or auto, which chooses.")
]
Image = Annotated[str, typer.Option("--image", help="Image of the steps, with a digest or a tag that never moves.")]
LauncherImage = Annotated[
    str, typer.Option("--launcher-image", help="Smaller image of the steps that compute nothing. Empty: --image.")
]
Experiment = Annotated[str, typer.Option("--experiment", help="Experiment that holds the runs and schedules.")]
PipelineName = Annotated[str, typer.Option("--pipeline-name", help="Name of the pipeline on the server.")]
ServiceAccount = Annotated[
    str, typer.Option("--service-account", help="Account of the steps' pods. Empty: the server's default.")
]


def show_preset(settings: Settings) -> None:
    """Say on stderr which preset the settings began with, and why."""
    if settings.preset_note:
        typer.echo(settings.preset_note, err=True)


class Backend:
    """The Kubeflow Pipelines API that the options name, called when it is first needed."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self.settings = settings
        self.opened: Api | None = None

    def open(self) -> Api:
        """The API, answered once. Raises InputError when there is no way to it."""
        if self.opened is None:
            # kfp takes half a second to import; help and wrong input should not wait for it
            from pipeline.cluster.api.connection import connect

            self.opened = connect(self.settings)
        return self.opened

    @property
    def options(self) -> str:
        """The connection's options for another command, a space before them, but for what the environment says."""
        given = ""
        for name in OPTIONS:
            value = getattr(self.settings, name)
            if value and os.environ.get(variable(ConnectionSettings.model_fields[name])) != value:
                given += f" --{name.replace('_', '-')} {shlex.quote(value)}"
        return given


def with_backend(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of the connection after its own; it gets a `Backend` as its first argument."""
    types = typing.get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=types[name]) for name, parameter in inspect.signature(command).parameters.items()
    ][1:]
    added = [_parameter(name) for name in OPTIONS]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        from pipeline.cluster.api.errors import KfpError

        backend = Backend(ConnectionSettings.given(**{name: values.pop(name) for name in OPTIONS}))
        try:
            command(backend, **values)
        except KfpError as fault:
            raise backend.open().explained(fault) from None

    run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *added)}
    del run.__wrapped__  # type: ignore[attr-defined]
    return run


def _parameter(name: str) -> inspect.Parameter:
    field = ConnectionSettings.model_fields[name]
    option = typer.Option(f"--{name.replace('_', '-')}", help=f"{field.description} [{variable(field)}]")
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default="", annotation=Annotated[str, option])
