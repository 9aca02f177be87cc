"""Arguments that several commands about the registry share."""

from __future__ import annotations

from typing import Annotated

import typer

Root = Annotated[str, typer.Option("--store", help="Root address of the registry. Empty: the embedded store.")]
Name = Annotated[str, typer.Argument(help="Name of the model.")]
