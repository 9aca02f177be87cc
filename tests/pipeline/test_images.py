"""Which step runs in which image, and containers that cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.core.errors import InputError
from components.core.place import IMAGE, LAUNCHER_IMAGE
from pipeline import images
from tests.pipeline.test_cluster import compiled
from tests.pipeline.test_local import sharpen

CPU = "registry.example/sharpen-python-cpu@sha256:" + "0" * 64
LAUNCHER = "registry.example/sharpen-python-launcher:0.1.0"
# They ask, decide and tell; the others read data or run a model.
COMPUTE_NOTHING = {"check-settings", "current-champion", "gate", "promotion", "finish"}


def by_step(spec: dict[str, Any]) -> dict[str, str]:
    executors = spec["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): executor["container"]["image"] for name, executor in executors.items()}


def test_steps_that_compute_nothing_run_in_the_launchers_image(tmp_path: Path) -> None:
    found = by_step(compiled(tmp_path, "--image", CPU, "--launcher-image", LAUNCHER)[0])
    assert {step for step, image in found.items() if image == LAUNCHER} == COMPUTE_NOTHING
    assert {image for step, image in found.items() if step not in COMPUTE_NOTHING} == {CPU}


def test_images_are_put_back_afterwards() -> None:
    from pipeline.graph import sharpen as pipeline

    def named() -> set[str]:
        executors = pipeline.pipeline_spec.deployment_spec["executors"]
        return {executor["container"]["image"] for executor in executors.values()}

    assert named() == {IMAGE, LAUNCHER_IMAGE}
    with pytest.raises(RuntimeError), images.assigned(pipeline, images.chosen(CPU, "")):
        assert named() == {CPU}
        raise RuntimeError
    assert named() == {IMAGE, LAUNCHER_IMAGE}
    with images.assigned(pipeline, images.chosen("", "")):
        assert named() == {IMAGE, LAUNCHER_IMAGE}


@pytest.mark.parametrize("image", ["repo/sharpen", "repo/sharpen:latest", "host:5000/sharpen"])
def test_an_image_that_can_move_is_refused(image: str) -> None:
    with pytest.raises(InputError, match="--image"):
        images.chosen(image, "")
    with pytest.raises(InputError, match="--launcher-image"):
        images.chosen(CPU, image)


@pytest.mark.parametrize("image", [CPU, "repo/sharpen:0.1.0", "host:5000/sharpen:v1"])
def test_an_image_that_stays_is_taken(image: str) -> None:
    assert set(images.chosen(image, "").values()) == {image}


def test_a_launchers_image_alone_is_refused() -> None:
    with pytest.raises(InputError, match="with --image"):
        images.chosen("", LAUNCHER)


def test_without_a_container_engine_one_line_says_so(tmp_path: Path) -> None:
    pytest.importorskip("docker")
    (tmp_path / "examples.jsonl").write_text('{"query": "q", "pos": ["p"]}\n')
    run = ("run", "--set", "train_data=examples.jsonl", "--set", f"store={tmp_path / 'store'}", "--image", CPU)
    ended = sharpen(tmp_path, *run, DOCKER_HOST=f"unix://{tmp_path}/nobody.sock")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("error: --image: no container engine answers; start Docker")
