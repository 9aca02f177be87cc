"""The commands of `sharpen models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.models.approval_commands import approve, reject
from pipeline.models.options import Name, Root
from sharpen.terminal import printable

models = typer.Typer(help="The registry: versions of models, the champion and other names.", no_args_is_help=True)
models.command()(approve)
models.command()(reject)

AnyVersion = Annotated[str, typer.Argument(help="Version, champion or an alias.")]


@models.command("list")
def list_models(root: Root = "") -> None:
    """List all models with their versions, champions, aliases, and what waits for approval."""
    from pipeline.local.run import opened_store
    from pipeline.models.views import show_models
    from sharpen.registry import registry

    with opened_store(root, write=False) as address:
        show_models(registry.list_models(address), address)


@models.command()
def show(
    name: Name,
    version: Annotated[str, typer.Argument(help="Version, champion or an alias. Empty: the champion and all.")] = "",
    root: Root = "",
) -> None:
    """Show the champion and all versions of a model, or what one version was made of."""
    from pipeline.local.run import opened_store
    from pipeline.models.views import show_lineage, show_model
    from sharpen.registry.lineage import read_lineage

    with opened_store(root, write=False) as address:
        if version:
            show_lineage(read_lineage(address, name, version))
        else:
            show_model(name, address)


@models.command()
def diff(name: Name, first: AnyVersion, second: AnyVersion, root: Root = "") -> None:
    """Show in what two versions differ: settings, data and metrics."""
    from pipeline.local.run import opened_store
    from pipeline.models.views import show_differences
    from sharpen.registry.lineage import differences, read_lineage

    with opened_store(root, write=False) as address:
        one, other = (read_lineage(address, name, version) for version in (first, second))
        show_differences(one, other, differences(one, other))


@models.command()
def promote(
    name: Name,
    version: Annotated[str, typer.Argument(help="Version to make the champion, for example v0002.")],
    root: Root = "",
) -> None:
    """Make a registered version the champion."""
    from pipeline.local.run import opened_store
    from sharpen.registry import registry

    with opened_store(root) as address:
        champion = registry.promote(address, name, version, reason="promoted by hand")
        typer.echo(f"{name}: champion is now {champion.version}")


@models.command()
def rollback(name: Name, root: Root = "") -> None:
    """Make the champion before the present one the champion again."""
    from pipeline.local.run import opened_store
    from sharpen.registry import registry

    with opened_store(root) as address:
        champion = registry.rollback(address, name)
        typer.echo(f"{name}: champion is {champion.version} again")


@models.command()
def alias(
    name: Name,
    version: Annotated[str, typer.Argument(help="Version that the alias stands for, for example v0002.")],
    alias: Annotated[str, typer.Argument(help="The alias, for example staging.")],
    root: Root = "",
) -> None:
    """Give a version another name, which `show`, `pull` and `export` take too."""
    from pipeline.local.run import opened_store
    from sharpen.registry import registry

    with opened_store(root) as address:
        before = registry.set_alias(address, name, version, alias)
        typer.echo(f"{name}: {alias} is {version}{f', it was {before}' if before else ''}")


@models.command()
def unalias(name: Name, alias: Annotated[str, typer.Argument(help="The alias.")], root: Root = "") -> None:
    """Take an alias away; the version stays."""
    from pipeline.local.run import opened_store
    from sharpen.registry import registry

    with opened_store(root) as address:
        registry.remove_alias(address, name, alias)
        typer.echo(f"{name}: {alias} is no alias any more")


@models.command()
def pull(
    name: Name,
    version: AnyVersion = "champion",
    to: Annotated[Path | None, typer.Option("--to", "-t", help="Folder to write; default: ./<name>.")] = None,
    root: Root = "",
) -> None:
    """Copy a model here, hashes checked; it loads in sentence-transformers."""
    from pipeline.local.run import opened_store
    from sharpen.registry import copies

    target = to or Path(name)
    with opened_store(root, write=False) as address:
        copies.pull(address, name, version, target)
    typer.echo(printable(f"{target}: SentenceTransformer({str(target)!r}) loads it"))


@models.command()
def export(
    name: Name,
    target: Annotated[
        list[str],
        typer.Argument(metavar="[VERSION] DIR", help="New folder to write; before it a version, default champion."),
    ],
    root: Root = "",
) -> None:
    """Write a version as a model hub takes it: card, weights and configuration, without what is this registry's."""
    from pipeline.local.run import opened_store
    from sharpen.errors import InputError
    from sharpen.registry import copies

    if len(target) > 2:
        raise InputError("export takes NAME, a version and one folder; put spaces in quotes")
    folder, version = Path(target[-1]), target[0] if len(target) == 2 else "champion"
    with opened_store(root, write=False) as address:
        copies.export(address, name, version, folder)
    typer.echo(printable(f"{folder}: hf upload YOUR-NAME/{name} {folder}"))


@models.command()
def register(
    name: Name,
    version: AnyVersion = "champion",
    mlflow: Annotated[
        str, typer.Option("--mlflow", envvar="MLFLOW_TRACKING_URI", help="Address of the MLflow server.")
    ] = "",
    kubeflow: Annotated[
        str, typer.Option("--kubeflow", envvar="MODEL_REGISTRY_URL", help="Address of Kubeflow's Model Registry.")
    ] = "",
    root: Root = "",
) -> None:
    """Register a version in MLflow or Kubeflow's Model Registry too; the weights stay where they are."""
    from pipeline.local.run import opened_store
    from sharpen.errors import InputError
    from sharpen.registry.lineage import kubeflow as model_registry
    from sharpen.registry.lineage import mlflow as mlflow_registry

    if not (mlflow or kubeflow):
        raise InputError("name a server: --mlflow (or MLFLOW_TRACKING_URI) or --kubeflow (or MODEL_REGISTRY_URL)")
    with opened_store(root, write=False) as address:
        if mlflow:
            typer.echo(f"{name}: version {mlflow_registry.register(address, name, version, mlflow)} in MLflow")
        if kubeflow:
            made = model_registry.register(address, name, version, kubeflow)
            typer.echo(f"{name}: id {made} in {model_registry.SERVER}")
