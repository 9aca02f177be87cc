"""The pipeline on a cluster: compile it from the same graph as the local run."""

from __future__ import annotations

import re
from pathlib import Path

from components.core.errors import InputError
from pipeline.parameters import TOP_LEVEL, Settings

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_TAG = re.compile(r":([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})$")


def check_image(image: str) -> None:
    """Refuse an image that can change behind its name: KFP caches steps by the image's name, not by its content.

    Raises:
        InputError: neither digest nor tag, or the tag ``latest``.
    """
    if _DIGEST.search(image):
        return
    tag = _TAG.search(image)
    if not tag:
        raise InputError(
            f"--image {image}: name a digest (@sha256:...) or a tag; without one it means latest, which moves"
        )
    if tag[1] == "latest":
        raise InputError(f"--image {image}: latest moves, so cached steps would be wrong; name a digest or a fixed tag")


def compile_pipeline(settings: Settings, output: Path, *, image: str = "", kubernetes: bool = False) -> None:
    """Write the pipeline's YAML.

    Args:
        settings: become the defaults of the run form; ``mining.rounds`` is built in.
        output: file to write.
        image: image of all steps; a local development image by default.
        kubernetes: write `Pipeline` and `PipelineVersion` objects (pipelines.kubeflow.org/v2beta1).

    Raises:
        InputError: the image has no fixed tag, or the file cannot be written.
    """
    if image:
        check_image(image)
    # kfp takes a third of a second to import; wrong input should not wait for it.
    from kfp import compiler

    from pipeline.graph import make_pipeline

    sharpen = make_pipeline(settings.mining.rounds)
    if image:
        for executor in sharpen.pipeline_spec.deployment_spec["executors"].values():
            executor["container"]["image"] = image
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
