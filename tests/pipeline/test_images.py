"""Which step runs in which image, and containers that cannot be had."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline import images
from sharpen.errors import InputError
from sharpen.jobs import JobSettings, run_job
from sharpen.jobs.job import Job
from sharpen.jobs.launch_context import LaunchContext
from sharpen.jobs.manifests.pod_spec_inputs import make_pod_spec_inputs
from sharpen.run_context import JOB_IMAGE_VARIABLE
from tests.pipeline.cluster.test_compiling import compiled
from tests.pipeline.local.runs import sharpen

CPU = "registry.example/sharpen-python-cpu@sha256:" + "0" * 64
LAUNCHER = "registry.example/sharpen-python-launcher:0.1.0"
# They ask, decide, launch and tell; the others read data or run a model.
COMPUTE_NOTHING = {"promotion", "finish", "finetuning"}


def by_step(spec: dict[str, Any]) -> dict[str, str]:
    executors = spec["deploymentSpec"]["executors"]
    images: dict[str, str] = {}
    for name, executor in executors.items():
        # a step used several times is numbered
        step, image = re.sub(r"^exec-|-\d+$", "", name), executor["container"]["image"]
        assert images.setdefault(step, image) == image
    return images


def test_steps_that_compute_nothing_run_in_the_launchers_image(tmp_path: Path) -> None:
    found = by_step(compiled(tmp_path, "--image", CPU, "--launcher-image", LAUNCHER)[0])
    assert {step for step, image in found.items() if image == LAUNCHER} == COMPUTE_NOTHING
    assert {image for step, image in found.items() if step not in COMPUTE_NOTHING} == {CPU}


def test_a_step_that_launches_a_job_is_told_the_image_of_its_pods(tmp_path: Path) -> None:
    spec = compiled(tmp_path, "--image", CPU, "--launcher-image", LAUNCHER)[0]
    told = {
        name: variable["value"]
        for name, executor in spec["deploymentSpec"]["executors"].items()
        for variable in executor["container"].get("env", [])
        if variable["name"] == JOB_IMAGE_VARIABLE
    }
    assert told == {"exec-finetuning": CPU}


def test_a_job_in_the_steps_own_pod_needs_the_image_that_computes(tmp_path: Path) -> None:
    options = ("--image", CPU, "--launcher-image", LAUNCHER, "--set", "job.backend=local")
    found = compiled(tmp_path, *options)[0]
    assert by_step(found)["finetuning"] == CPU
    assert JOB_IMAGE_VARIABLE not in str(found)


def test_a_launching_step_refuses_to_train_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JOB_IMAGE_VARIABLE, CPU)
    with pytest.raises(InputError, match="launch a job elsewhere"):
        run_job("components.finetuning", {"output": "unused"}, JobSettings(backend="local"))


def test_the_pods_of_a_launched_job_run_the_image_that_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JOB_IMAGE_VARIABLE, CPU)
    addresses = {"data": "s3://b/data", "model": "s3://b/model", "output": "s3://b/output"}
    around = LaunchContext("team", "run-1", image=LAUNCHER)
    plan = make_pod_spec_inputs(Job("components.finetuning", addresses, JobSettings(), {}), around)
    assert plan.image == CPU
    assert JOB_IMAGE_VARIABLE not in str(plan.env)
    chosen = make_pod_spec_inputs(
        Job("components.finetuning", addresses, JobSettings(image="registry.example/own:1"), {}), around
    )
    assert chosen.image == "registry.example/own:1"


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
