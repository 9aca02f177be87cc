"""The commands of `sharpen presets`."""

from __future__ import annotations

from typing import Annotated

import typer

presets = typer.Typer(help="Settings for a kind of data or model, to begin with.", no_args_is_help=False)


@presets.callback(invoke_without_command=True)
def list_presets(context: typer.Context) -> None:
    """List the presets: when each is right. `sharpen presets show NAME` prints one."""
    if context.invoked_subcommand:
        return
    from rich.table import Table

    from pipeline.presets.catalog import AUTO, NAMES, explanation
    from sharpen.terminal import plain_console

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("preset", no_wrap=True)
    table.add_column("when", overflow="fold")
    table.add_row(
        AUTO, "chooses one of these by the data's size and kind, the base model and the machine, and says why"
    )
    for name in NAMES:
        table.add_row(name, next(text for subject, text in explanation(name) if subject == "When"))
    console = plain_console()
    console.print(table)
    console.print("sharpen presets show NAME prints one; sharpen run --preset NAME takes it")


@presets.command()
def show(name: Annotated[str, typer.Argument(help="Name of the preset.")]) -> None:
    """Print a preset: when it is right, what it costs, and its settings, as a file for --config."""
    from pipeline.presets.catalog import preset_text

    typer.echo(preset_text(name).rstrip())
