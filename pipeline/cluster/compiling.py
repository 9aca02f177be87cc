"""The pipeline as a file for a cluster, compiled from the same graph as the local run."""

from __future__ import annotations

from pathlib import Path

from components.core.errors import InputError
from pipeline.images import chosen, put_images
from pipeline.parameters import TOP_LEVEL, Settings


def compile_pipeline(
    settings: Settings, output: Path, *, image: str = "", launcher_image: str = "", kubernetes: bool = False
) -> None:
    """Write the pipeline's YAML.

    Args:
        settings: become the defaults of the run form; ``mining.rounds`` and ``pods`` are built in.
        output: file to write.
        image: image of the steps; a local development image by default.
        launcher_image: image of the steps that compute nothing; empty: `image` for all.
        kubernetes: write `Pipeline` and `PipelineVersion` objects (pipelines.kubeflow.org/v2beta1).

    Raises:
        InputError: the image has no fixed tag, or the file cannot be written.
    """
    images = chosen(image, launcher_image)
    # kfp takes a third of a second to import; wrong input should not wait for it.
    from kfp import compiler

    from pipeline.graph import make_pipeline

    sharpen = make_pipeline(settings.mining.rounds, settings)
    put_images(sharpen, images, jobs_elsewhere=settings.job.backend != "local")
    defaults = {name: str(getattr(settings, name)) for name in TOP_LEVEL} | {"overrides": settings.overrides_json()}
    options: dict[str, object] = {}
    if kubernetes:
        from kfp.compiler.compiler_utils import KubernetesManifestOptions

        options = {
            "kubernetes_manifest_format": True,
            "kubernetes_manifest_options": KubernetesManifestOptions(include_pipeline_manifest=True),
        }
    if output.suffix not in (".yaml", ".yml"):
        raise InputError(f"--output {output}: the name must end with .yaml")
    if not output.absolute().parent.is_dir():
        raise InputError(f"--output {output}: the folder {output.absolute().parent} does not exist")
    compiler.Compiler().compile(
        sharpen,
        str(output),
        pipeline_parameters=defaults,
        **options,  # type: ignore[arg-type]
    )
