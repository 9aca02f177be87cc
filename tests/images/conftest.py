"""Engine and images, made once for all tests of this folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping

import pytest

from tests.images.engine import ROOT, STORE, Engine, install

# 1: build the image with CUDA whatever it takes; 0: never; not set: where there is room, but not in CI.
CUDA_VARIABLE = "SHARPEN_TEST_CUDA"
CUDA_DISK = 25_000_000_000
# of pip: the wheels are not to be had here
_NO_WHEELS = ("No matching distribution found", "Could not find a version", "Failed to establish a new connection")


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """podman with the stand-in base; its store is kept in ``build/``, so that a second run is quick."""
    if reason := install():
        pytest.skip(reason)
    engine = Engine(STORE)
    try:
        engine.make_base()
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="session")
def launcher_image(engine: Engine) -> str:
    """The launcher's image, built from the project's Dockerfile."""
    return engine.build("launcher")


@pytest.fixture(scope="session")
def cpu_image(engine: Engine) -> str:
    """The CPU image, built from the project's Dockerfile."""
    return engine.build("cpu")


@pytest.fixture(scope="session")
def cuda_image(engine: Engine) -> Iterator[str]:
    """The image with CUDA, from PyPI's own wheel of torch; it is removed in the end."""
    if reason := no_cuda(os.environ, shutil.disk_usage(ROOT).free):
        pytest.skip(reason)
    try:
        image = engine.build("cuda")
    except AssertionError as error:
        missing = next((line for line in str(error).splitlines() if any(sign in line for sign in _NO_WHEELS)), "")
        if not missing:
            raise
        pytest.skip(f"the wheels with CUDA cannot be had here: {missing.strip()}")
    yield image
    engine("rmi", "--force", image, check=False)


def no_cuda(variables: Mapping[str, str], free: int) -> str:
    """Why the image with CUDA is not built; empty: it is.

    Args:
        variables: of the environment.
        free: bytes of disk.
    """
    wanted = variables.get(CUDA_VARIABLE, "")
    if wanted == "1":
        return ""
    cost = "3 GB of wheels and some ten minutes"
    if wanted == "0" or variables.get("CI"):
        return f"the image with CUDA takes {cost}: {CUDA_VARIABLE}=1 builds it"
    if free < CUDA_DISK:
        return (
            f"{free / 1e9:.0f} GB of disk are free, {CUDA_DISK / 1e9:.0f} wanted; {CUDA_VARIABLE}=1 builds all the same"
        )
    return ""
