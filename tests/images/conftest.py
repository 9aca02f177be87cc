"""Engine and images, made once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.images.engine import ROOT, Engine, install

STORE = ROOT / "build" / "test-images"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """podman with the stand-in base; its store is kept in ``build/``, so that a second run is quick."""
    install()
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
