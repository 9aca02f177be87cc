"""The command `sharpen doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML file with settings, as for submit.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="One setting, name=value; may be repeated.", metavar="NAME=VALUE"),
    ] = None,
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace",
            "-n",
            help="Namespace that runs execute in. Empty: KFP_NAMESPACE, else Kubeflow's own where it serves one user, "
            "else that of the pod or of the kubeconfig's context.",
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
    output_format: Annotated[
        Literal["table", "json"], typer.Option("--format", help="table: for people. json: for machines.")
    ] = "table",
) -> None:
    """Say whether a cluster is ready for the pipeline with these settings, and what mends it."""
    from pipeline import parameters
    from pipeline.doctor import report
    from pipeline.doctor.run_checks import context_for, run_checks
    from sharpen.terminal import plain_console

    context = context_for(
        parameters.load(config, assignments or [], on_cluster=True),
        namespace=namespace,
        endpoint=endpoint,
        account=account,
        image=image,
        launcher_image=launcher_image,
    )
    if output_format == "json":
        findings = list(run_checks(context))
        typer.echo(report.as_json(findings))
    else:
        findings = report.show(run_checks(context), plain_console())
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)
