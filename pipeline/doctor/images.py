"""Images of the run: are their names fixed, so that caching by name is right?"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.doctor.finding import Finding, Visit
from pipeline.images import check_image
from sharpen.errors import InputError


def images(visit: Visit) -> Iterator[Finding]:
    """Every image that a run of this configuration uses."""
    named = {"image": visit.image, "launcher image": visit.launcher_image, "job.image": visit.settings.job.image}
    if not visit.job_image:
        said = "no image of the steps was named; the one to submit with goes here too"
        yield Finding("image", "not checked", said, "--image REGISTRY/sharpen-python-cpu:TAG")
    for check, image in named.items():
        if not image:
            continue
        try:
            check_image(image, check)
        except InputError as error:
            yield Finding(check, "fail", str(error), "name a digest, or a tag that never moves")
        else:
            how = "" if visit.pull else "; the name is fixed, whether it can be pulled is seen with --pull"
            yield Finding(check, "pass", image + how)
