"""`sharpen gc`: what is old and needed by nothing, shown, and deleted with `--yes`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from pipeline.models.options import Root
from pipeline.settings import RetrainingSettings
from sharpen.registry.retention.settings import RetentionSettings
from sharpen.terminal import printable

LEFTOVER_DAYS: int = RetrainingSettings.model_fields["delete_leftovers_days"].default
_FIELDS = RetentionSettings.model_fields


def gc(
    yes: Annotated[bool, typer.Option("--yes", help="Delete it; without this it is only shown.")] = False,
    days: Annotated[float, typer.Option("--days", min=0, help=_FIELDS["days"].description)] = _FIELDS["days"].default,
    versions: Annotated[int, typer.Option("--versions", min=1, help=_FIELDS["versions"].description)] = _FIELDS[
        "versions"
    ].default,
    leftover_days: Annotated[
        float, typer.Option("--leftover-days", min=0, help=_FIELDS["leftover_days"].description)
    ] = LEFTOVER_DAYS,
    only: Annotated[
        str,
        typer.Option(
            "--only",
            help="Only these, comma-separated: leftovers (of runs that failed), runs, vectors, searches (for "
            "settings), versions.",
        ),
    ] = "",
    runs: Annotated[
        list[str] | None,
        typer.Option(
            "--runs",
            help="Folder of runs besides those below the store, on a cluster that of the pipeline, for example "
            "s3://mlpipeline/v2/artifacts/sharpen; may be repeated. Only where all its runs use this registry.",
        ),
    ] = None,
    root: Root = "",
) -> None:
    """Delete old runs, vectors and versions that no champion, alias or waiting version needs; first a dry run."""
    from pipeline.local.run import opened_store
    from sharpen.errors import InputError
    from sharpen.registry.retention import KINDS, Garbage, find_garbage, running

    given = {"days": days, "versions": versions, "leftover_days": leftover_days}
    settings = RetentionSettings.checked(given, where="--")
    with opened_store(root, write=yes) as address:
        kinds = tuple(part.strip() for part in only.split(",") if part.strip()) or KINDS
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise InputError(f"--only: {', '.join(unknown)} is none of {', '.join(KINDS)}")
        if going := {"runs", "versions"} & {*kinds} and running.runs(address, days):
            typer.echo(printable(f"runs and versions are left, as a run goes on: {', '.join(going)}"))

        def deleted(found: Iterable[Garbage]) -> Iterable[Garbage]:
            # all is looked for before anything goes
            return (one for one in list(found) if not yes or one.delete())

        _show(deleted(find_garbage(address, settings, runs=runs or (), kinds=kinds)), done=yes)


def _show(found: Iterable, *, done: bool) -> None:
    from sharpen.progress import clock

    count, total = 0, 0
    for one in found:
        count, total = count + 1, total + one.size
        age = f"{one.age / 86_400:,.0f} days" if one.age >= 86_400 else clock(one.age)
        typer.echo(printable(f"{one.kind:<10} {one.what:<24} {one.size / 2**20:>10,.1f} MiB {age:>10}  {one.address}"))
    if not count:
        typer.echo("nothing to delete")
    elif done:
        typer.echo(f"{count} deleted, {total / 2**20:,.1f} MiB")
    else:
        typer.echo(f"{count} would be deleted, {total / 2**20:,.1f} MiB; sharpen gc --yes deletes them")
