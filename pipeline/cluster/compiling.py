"""The pipeline as a file for a cluster, compiled from the same graph as the local run."""

from __future__ import annotations

import hashlib
import tempfile
from functools import partial
from pathlib import Path

from pipeline.images import check_job_image, chosen, put_images
from pipeline.parameters import Settings
from sharpen.errors import InputError


def compile_pipeline(
    settings: Settings,
    output: Path,
    *,
    image: str = "",
    launcher_image: str = "",
    kubernetes: bool = False,
    approval: bool = False,
    trial: bool = False,
) -> None:
    """Write the pipeline's YAML.

    Args:
        settings: become the defaults of the run form; ``mining.rounds`` and ``pods`` are built in.
        output: file to write.
        image: image of the steps; a local development image by default.
        launcher_image: image of the steps that compute nothing; empty: `image` for all.
        kubernetes: write `Pipeline` and `PipelineVersion` objects (pipelines.kubeflow.org/v2beta1). The version is
            named by its content, so that after any change another one is applied beside it.
        approval: write the pipeline that approves or rejects a version instead.
        trial: leave out what follows fine-tuning, for a trial of a search.

    Raises:
        InputError: an image has no fixed tag, or the file cannot be written.
    """
    check_job_image(settings.job.image)
    images = chosen(image, launcher_image)
    # kfp takes a third of a second to import; wrong input should not wait for it.
    from kfp import compiler

    from pipeline.graph import PIPELINE_NAME, make_pipeline
    from pipeline.models import approval_pipeline

    name = approval_pipeline.PIPELINE_NAME if approval else PIPELINE_NAME
    if approval:
        sharpen = approval_pipeline.make_approval_pipeline(settings)
    else:
        sharpen = make_pipeline(settings.mining.rounds, settings, **settings.optional_steps(), trial=trial)
    put_images(sharpen, images, jobs_elsewhere=settings.job.backend != "local")
    if output.suffix not in (".yaml", ".yml"):
        raise InputError(f"--output {output}: the name must end with .yaml")
    if not output.absolute().parent.is_dir():
        raise InputError(f"--output {output}: the folder {output.absolute().parent} does not exist")
    compile_to = partial(compiler.Compiler().compile, sharpen)
    if not kubernetes:
        compile_to(str(output))
        return
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    with tempfile.TemporaryDirectory(prefix="sharpen-") as folder:
        plain = Path(folder) / "pipeline.yaml"
        compile_to(str(plain))
        version = version_name(name, plain)
    named = KubernetesManifestOptions(pipeline_version_name=version, include_pipeline_manifest=True)
    compile_to(str(output), kubernetes_manifest_format=True, kubernetes_manifest_options=named)


def version_name(pipeline_name: str, package: Path) -> str:
    """The name of a version, which no other content has: a server lets no version change.

    Args:
        pipeline_name: name of the pipeline, as RFC 1123 has labels.
        package: the compiled pipeline.
    """
    return f"{pipeline_name}-{hashlib.sha256(package.read_bytes()).hexdigest()[:12]}"
