"""`sharpen store clean`: delete what runs that failed or were cancelled left in a store."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.settings import RetrainingSettings

DAYS: int = RetrainingSettings.model_fields["delete_leftovers_days"].default


def clean(
    address: Annotated[
        str,
        typer.Argument(
            help="Folder of runs: the root of a registry, or on a cluster the pipeline's folder, for example "
            "s3://mlpipeline/v2/artifacts/sharpen. Empty: the embedded store."
        ),
    ] = "",
    days: Annotated[
        float, typer.Option("--days", min=0.01, help="Days for which nobody has written to what is deleted.")
    ] = DAYS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
) -> None:
    """Delete checkpoints, half-written folders and unfinished uploads of runs that failed or were cancelled.

    Complete folders are never touched, nor what a run has written to within the days.
    """
    from pipeline.local.run import opened_store
    from sharpen.progress import clock
    from sharpen.store.leftovers import find_leftovers
    from sharpen.terminal import printable

    count, total = 0, 0
    with opened_store(address, write=not dry_run) as root:
        for leftover in find_leftovers(root, days):
            if not dry_run and not leftover.delete():
                continue
            count, total = count + 1, total + leftover.size
            age = f"{leftover.age / 86_400:,.0f} days" if leftover.age >= 86_400 else clock(leftover.age)
            typer.echo(
                printable(f"{leftover.kind:<20} {leftover.size / 2**20:>10,.1f} MiB {age:>10}  {leftover.address}")
            )
    done = "would be deleted" if dry_run else "deleted"
    typer.echo(
        f"{count} leftovers {done}, {total / 2**20:,.1f} MiB" if count else f"nothing is left over for {days:g} days"
    )
