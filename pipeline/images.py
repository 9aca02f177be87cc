"""Which image each step of the pipeline runs in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from components.kfp_context import IMAGE, LAUNCHER_IMAGE
from sharpen.errors import InputError
from sharpen.run_context import JOB_IMAGE_VARIABLE

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_TAG = re.compile(r":([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})$")


def check_image(image: str, option: str = "--image") -> None:
    """Refuse an image that can change behind its name: KFP caches steps by the image's name, not by its content.

    Raises:
        InputError: neither digest nor tag, or the tag ``latest``.
    """
    if _DIGEST.search(image):
        return
    tag = _TAG.search(image)
    if not tag:
        raise InputError(
            f"{option} {image}: name a digest (@sha256:...) or a tag; without one it means latest, which moves"
        )
    if tag[1] == "latest":
        raise InputError(
            f"{option} {image}: latest moves, so cached steps would be wrong; name a digest or a fixed tag"
        )


def check_job_image(image: str) -> None:
    """Refuse a `job.image` that can change behind its name; empty is the image of the steps.

    Raises:
        InputError: as `check_image`.
    """
    if image:
        check_image(image, "job.image")


def chosen(image: str, launcher_image: str) -> dict[str, str]:
    """Which image takes the place of which that the components name; none where no image was given.

    Args:
        image: image of the steps that compute; empty: the development image.
        launcher_image: image of the steps that compute nothing, a tenth of the size; empty: `image` too.

    Raises:
        InputError: an image without a fixed tag, or a launcher's image without the other.
    """
    if not image:
        if launcher_image:
            raise InputError(f"--launcher-image {launcher_image}: name the image of the other steps too, with --image")
        return {}
    check_image(image)
    if launcher_image:
        check_image(launcher_image, "--launcher-image")
    return {IMAGE: image, LAUNCHER_IMAGE: launcher_image or image}


def put_images(pipeline: Any, images: Mapping[str, str], *, jobs_elsewhere: bool = False) -> None:
    """Let the steps of a pipeline, as `make_pipeline` makes it, run in these images (`chosen`).

    Args:
        pipeline: changed in place.
        images: image that the components name -> image to run in; empty: nothing changes.
        jobs_elsewhere: steps that start a job only launch it and wait, so the launcher's image is enough for them; the
            job's own pods run the image of the steps that compute, whose name the launching step is told.
    """
    if not images:
        return
    spec = pipeline.pipeline_spec
    for component in spec.components.values():
        if not component.executor_label:
            continue
        container = spec.deployment_spec["executors"][component.executor_label]["container"]
        launches = jobs_elsewhere and "job" in component.input_definitions.parameters
        container["image"] = images[LAUNCHER_IMAGE if launches else container["image"]]
        if launches:
            variables = list(container["env"]) if "env" in container else []
            container["env"] = [*variables, {"name": JOB_IMAGE_VARIABLE, "value": images[IMAGE]}]
