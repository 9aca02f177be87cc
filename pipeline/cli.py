"""The `sharpen` command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from components.command_line import run as run_with_exit_code
from components.kfp_context import IMAGE, LAUNCHER_IMAGE
from pipeline.cluster import commands
from pipeline.cluster.options import Assignments, Config, LauncherImage, Preset, show_preset
from pipeline.cluster.schedule_commands import schedule
from pipeline.doctor.command import doctor
from pipeline.explanation.command import explain
from pipeline.local.interruption import end_steps_when_interrupted
from pipeline.models.commands import models
from pipeline.models.gc_command import gc
from pipeline.models.options import Root
from pipeline.presets.commands import presets
from pipeline.tuning.command import tune
from sharpen.errors import GateRejected, InputError, Overtaken

app = typer.Typer(
    name="sharpen",
    help="Make a text-embedding model better at retrieval on your own data, again and again.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
runs = typer.Typer(help="Finished runs, to compare them.", no_args_is_help=True)
store = typer.Typer(help="The embedded S3 store of this folder.", no_args_is_help=True)
app.command()(doctor)
app.command()(explain)
app.command()(gc)
app.add_typer(models, name="models")
app.add_typer(presets, name="presets")
app.add_typer(runs, name="runs")
app.add_typer(store, name="store")
app.add_typer(schedule, name="schedule")


@app.command()
def run(
    config: Config = None,
    assignments: Assignments = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do every step again, even where nothing is new.")] = False,
    image: Annotated[
        str, typer.Option("--image", help="Run the steps in containers of this image, as a cluster does.")
    ] = "",
    launcher_image: LauncherImage = "",
    preset: Preset = "",
) -> None:
    """Run the whole pipeline on this machine."""
    from pipeline import parameters
    from pipeline.local import run as local
    from pipeline.local import summary

    settings = parameters.load(config, assignments or [], preset=preset)
    show_preset(settings)
    # one user of the store until all is shown, so that it is started and stopped once
    with local.opened_store(settings.store):
        finished = local.run(settings, fresh=fresh, image=image, launcher_image=launcher_image)
        summary.show(finished, settings)
    if finished.verdict == "reject":
        where = f" --store {shlex.quote(settings.store)}" if settings.store else ""
        why = f"likely causes: sharpen explain {finished.name}{where}"
        raise GateRejected(f"the gate did not promote the model: {'; '.join(finished.reasons)}; {why}")
    if finished.verdict == "overtaken":
        raise Overtaken(f"the model was not promoted: {'; '.join(finished.reasons)}")


@app.command()
def compile(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("pipeline.yaml"),
    kind: Annotated[
        Literal["kfp", "kubernetes"],
        typer.Option(
            "--format", help="kfp: pipeline YAML for the UI or client. kubernetes: Pipeline objects for GitOps."
        ),
    ] = "kfp",
    image: Annotated[
        str, typer.Option("--image", help="Image of the steps, with a digest or a tag that never moves.")
    ] = "",
    launcher_image: LauncherImage = "",
    approval: Annotated[
        bool, typer.Option("--approval", help="The pipeline that approves or rejects a version that waits.")
    ] = False,
    config: Config = None,
    assignments: Assignments = None,
    preset: Preset = "",
) -> None:
    """Write the pipeline for a cluster; settings given here become the defaults of its run form."""
    from pipeline import parameters
    from pipeline.cluster.compiling import compile_pipeline

    settings = parameters.load(config, assignments or [], preset=preset, on_cluster=True)
    show_preset(settings)
    compile_pipeline(
        settings,
        output,
        image=image,
        launcher_image=launcher_image,
        kubernetes=kind == "kubernetes",
        approval=approval,
    )
    if not image:
        typer.echo(
            f"note: without --image the steps run in {IMAGE} and {LAUNCHER_IMAGE}, which no cluster can pull; "
            "to run it, compile again with --image",
            err=True,
        )
    typer.echo(f"{output}: upload it in the Kubeflow UI; `sharpen submit` compiles, uploads and runs in one go")


app.command()(tune)
app.command()(commands.submit)
app.command()(commands.status)
app.command()(commands.cancel)
app.command()(commands.retry)


@app.command()
def settings() -> None:
    """Print every setting with default, bounds and meaning."""
    from rich.console import Console
    from rich.markdown import Markdown

    from pipeline.docs import markdown

    Console().print(Markdown(markdown()))


@app.command()
def search(
    text: Annotated[
        str | None, typer.Argument(help="What to look for. Not given: one query a line from standard input.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Name of the model. Empty: the last promoted.")] = "",
    index: Annotated[
        str, typer.Option("--index", "-i", help="Address of an index. Empty: that of the model's champion.")
    ] = "",
    top: Annotated[int, typer.Option("--top", "-k", min=1, max=1000, help="Passages to show.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a query.")] = False,
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", help="Name of the model's prompt to ask with. Empty: its default.")
    ] = "",
    root: Root = "",
) -> None:
    """Find passages with the champion: the quickest way to see what it does."""
    from pipeline import search_command
    from pipeline.local.run import opened_store

    if text is not None and not text.strip():
        raise InputError("the query is empty; write what to look for")
    with opened_store(root, write=False) as address:
        if index:
            code = search_command.ask_index(index, "", text, top, as_json=as_json, prompt=prompt)
        else:
            code = search_command.ask(address, model, text, top, as_json=as_json, prompt=prompt)
    raise typer.Exit(code)


@app.command("index")
def make_index(
    name: Annotated[str, typer.Argument(help="Name of the model. Not given: the last promoted.")] = "",
    data: Annotated[
        str, typer.Option("--data", "-d", help="Passages to index. Empty: those that the champion was measured on.")
    ] = "",
    config: Config = None,
    assignments: Assignments = None,
    root: Root = "",
) -> None:
    """Index a corpus with the champion, for `sharpen search`."""
    from pipeline import search_command
    from pipeline.local.run import opened_store

    with opened_store(root) as address:
        code = search_command.make_index(address, name, data, config, assignments or [])
    raise typer.Exit(code)


@app.command("export-mteb")
def export_mteb(
    data: Annotated[str, typer.Argument(help="Address of the data: what data_prep wrote, or any input.")],
    output: Annotated[str, typer.Argument(help="Folder to write, local or s3://.")],
    name: Annotated[str, typer.Option("--name", "-n", help="What the tasks' names begin with.")] = "My",
    split: Annotated[str, typer.Option("--split", "-s", help="Whose queries are measured.")] = "test",
    languages: Annotated[
        list[str] | None, typer.Option("--language", "-l", help="Language and script of the texts; may be repeated.")
    ] = None,
) -> None:
    """Write a split as tasks of MTEB, with which any model can be measured by the `mteb` package."""
    from sharpen.evaluation.tasks.mteb_export import export_mteb as write

    found = write(data, output, name=name, split=split, languages=tuple(languages or ["eng-Latn"]))
    typer.echo(f"{', '.join(found)}: import TASKS from {output.rstrip('/')}/tasks.py, and mteb.evaluate(model, TASKS)")


@runs.command("list")
def list_runs(
    name: Annotated[str, typer.Argument(help="Name of the model. Not given: all.")] = "",
    root: Root = "",
) -> None:
    """List finished runs with the gate's verdict, the figures of dev and the settings that differ."""
    from pipeline.local.run import opened_store
    from pipeline.local.run_list import show_runs
    from sharpen.registry import decisions

    with opened_store(root, write=False) as address:
        show_runs(decisions.records(address, name))


@store.command()
def up() -> None:
    """Start the store and leave it running."""
    from pipeline.local.run import WORK
    from pipeline.store.server import EmbeddedStore

    embedded = EmbeddedStore(WORK / "store")
    started = embedded.up()
    state = "started" if started else "was already up"
    typer.echo(f'store {state} at {embedded.env()["AWS_ENDPOINT_URL_S3"]}; its variables: eval "$(sharpen store env)"')


@store.command()
def down(
    force: Annotated[bool, typer.Option("--force", help="Stop it under the commands that use it too.")] = False,
) -> None:
    """Stop the store, unless a command uses it; its data stay."""
    from pipeline.local.run import WORK
    from pipeline.store.server import EmbeddedStore

    typer.echo("store stopped" if EmbeddedStore(WORK / "store").down(force=force) else "store was not running")


@store.command()
def env() -> None:
    """Print the variables that an S3 client needs for the store, as shell exports."""
    from pipeline.local.run import WORK
    from pipeline.store.server import EmbeddedStore

    for name, value in EmbeddedStore(WORK / "store").env().items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def main() -> None:
    """Entry point of the `sharpen` command."""
    end_steps_when_interrupted()
    run_with_exit_code(app, "sharpen")


if __name__ == "__main__":
    main()
