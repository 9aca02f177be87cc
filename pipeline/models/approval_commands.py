"""`sharpen models approve` and `reject`: what ends a run with `promotion.approval`."""

from __future__ import annotations

import getpass
from typing import Annotated, Literal

import typer

from pipeline.models.options import Name, Root
from sharpen.terminal import printable

WaitingVersion = Annotated[str, typer.Argument(help="Version that waits, for example v0002.")]
By = Annotated[str, typer.Option("--by", help="Who decides. Empty: the user of this machine.")]
Message = Annotated[
    Literal["slack", "cloudevents"],
    typer.Option("--message", help="Form of the message to the webhook in SHARPEN_WEBHOOK_URL, if one is set."),
]
Comment = Annotated[str, typer.Option("--comment", help="Why.")]


def approve(
    name: Name,
    version: WaitingVersion,
    by: By = "",
    comment: Comment = "",
    message: Message = "slack",
    root: Root = "",
) -> None:
    """Make a version that waits for approval the champion, if the champion has not changed meanwhile."""
    _decide(name, version, "approve", by, comment, message, root)
    typer.echo(f"next: sharpen index {name}")


def reject(
    name: Name,
    version: WaitingVersion,
    by: By = "",
    comment: Comment = "",
    message: Message = "slack",
    root: Root = "",
) -> None:
    """Refuse a version that waits for approval; the champion stays."""
    _decide(name, version, "reject", by, comment, message, root)


def _decide(name: str, version: str, decision: str, by: str, comment: str, message: str, root: str) -> None:
    from pipeline.local.run import opened_store
    from pipeline.models.decision import carry_out

    with opened_store(root) as address:
        typer.echo(printable(carry_out(address, name, version, decision, by or _user(), comment, message)))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # a container whose user has no name
        return ""
