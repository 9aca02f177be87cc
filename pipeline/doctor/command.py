"""The command `sharpen doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Config = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file with settings, as for submit.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="One setting, name=value; may be repeated.", metavar="NAME=VALUE"),
]


def doctor(
    config: Config = None,
    assignments: Assignments = None,
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace",
            "-n",
            help="Namespace that runs execute in. Empty: KFP_NAMESPACE, else that of the pod or of the kubeconfig's "
            "context.",
        ),
    ] = "",
    account: Annotated[
        str, typer.Option("--service-account", help="Service account of the run's steps.")
    ] = "sharpen-pipeline",
    endpoint: Annotated[
        str,
        typer.Option(
            "--endpoint",
            help="Address of the Kubeflow Pipelines API. Empty: KFP_ENDPOINT, else through the API server.",
        ),
    ] = "",
    image: Annotated[str, typer.Option("--image", help="Image of the steps, as for submit.")] = "",
    launcher_image: Annotated[
        str, typer.Option("--launcher-image", help="Smaller image of the steps that compute nothing. Empty: --image.")
    ] = "",
    pull: Annotated[
        bool, typer.Option("--pull", help="Start pods that pull the images and try the store; they are deleted again.")
    ] = False,
    kind: Annotated[
        Literal["table", "json"], typer.Option("--format", help="table: for people. json: for machines.")
    ] = "table",
) -> None:
    """Say whether a cluster is ready for the pipeline with these settings, and what mends it."""
    from pipeline import parameters
    from pipeline.doctor import table
    from pipeline.doctor.examine import examine, visit
    from sharpen.terminal import plain_console

    settings = parameters.load(config, assignments or [])
    found = visit(
        settings,
        namespace=namespace,
        endpoint=endpoint,
        account=account,
        image=image,
        launcher_image=launcher_image,
        pull=pull,
    )
    if kind == "json":
        findings = list(examine(found))
        typer.echo(table.as_json(findings))
    else:
        findings = table.show(examine(found), plain_console())
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)
