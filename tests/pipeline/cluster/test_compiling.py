"""The compiled pipeline, read back as kfp reads it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import app
from tests.pipeline.cluster.conftest import Sharpen, only_line

IMAGE = "registry.example/sharpen-python@sha256:" + "0" * 64


def compiled_text(tmp_path: Path, *options: str) -> str:
    target = tmp_path / "pipeline.yaml"
    done = CliRunner().invoke(app, ["compile", "-o", str(target), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return target.read_text()


def compiled(tmp_path: Path, *options: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(compiled_text(tmp_path, *options)))


def test_every_task_runs_our_image_and_the_form_is_documented(tmp_path: Path) -> None:
    spec = compiled(tmp_path, "--image", IMAGE, "--set", "training.temperature=0.05")[0]
    images = {executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()}
    assert images == {IMAGE}
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    assert all(field["description"] for field in inputs.values())
    assert inputs["training_temperature"]["defaultValue"] == 0.05


@pytest.mark.parametrize("form", ["kfp", "kubernetes"])
def test_the_yaml_is_the_same_every_time(tmp_path: Path, form: str) -> None:
    """Byte for byte, since versions are named by it; another process orders sets differently."""
    target = tmp_path / "other.yaml"
    options = ("--image", IMAGE, "--format", form)
    command = [sys.executable, "-m", "pipeline.cli", "compile", "-o", str(target), *options]
    subprocess.run(command, check=True, capture_output=True, text=True)
    assert target.read_text() == compiled_text(tmp_path, *options)


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_rounds_are_unrolled(tmp_path: Path, rounds: int) -> None:
    spec = compiled(tmp_path, "--image", IMAGE, "--set", f"mining.rounds={rounds}")[0]
    (tasks,) = (
        c["dag"]["tasks"] for c in spec["components"].values() if "hard-negatives" in c.get("dag", {}).get("tasks", {})
    )

    def inputs(task: str) -> dict[str, Any]:
        return tasks[task]["inputs"]["parameters"]

    names = [f"-{number}" if number > 1 else "" for number in range(1, rounds + 1)]
    assert {name for name in tasks if "hard-negatives" in name} == {f"hard-negatives{name}" for name in names}
    start = miner = {"componentInputParameter": "pipelinechannel--plan-start_model"}
    for name in names:
        mined, tuned = inputs(f"hard-negatives{name}"), inputs(f"finetuning{name}")
        assert mined["model"] == miner
        assert mined["name"]["runtimeValue"]["constant"] == f"hard_negatives{name}"
        assert tuned["name"]["runtimeValue"]["constant"] == f"finetuning{name}"
        # every round trains the model that training starts from, with the negatives of its own round
        assert tuned["base_model"] == start
        assert tuned["negatives"]["taskOutputParameter"]["producerTask"] == f"hard-negatives{name}"
        miner = {"taskOutputParameter": {"outputParameterKey": "Output", "producerTask": f"finetuning{name}"}}
    assert inputs("merging")["model"] == miner
    merged = {"taskOutputParameter": {"outputParameterKey": "Output", "producerTask": "merging"}}
    assert inputs("evaluation")["model"] == merged
    assert inputs("evaluation")["name"]["runtimeValue"]["constant"] == "evaluation-tuned"
    # wherever training starts, results are compared with the base model and with the champion
    before = inputs("evaluation-before")
    assert before["base_model"] == {"componentInputParameter": "pipelinechannel--plan-base_model"}
    assert before["champion_model"] == {"componentInputParameter": "pipelinechannel--plan-champion"}
    (first,) = (c["dag"]["tasks"] for c in spec["components"].values() if "plan" in c.get("dag", {}).get("tasks", {}))
    compiled_in = json.loads(first["plan"]["inputs"]["parameters"]["compiled"]["runtimeValue"]["constant"])
    assert compiled_in["rounds"] == rounds


@pytest.mark.parametrize("image", ["repo/x", "repo/x:latest", "host:5000/x"])
def test_an_image_of_the_job_that_moves_is_refused(sharpen: Sharpen, image: str) -> None:
    done = sharpen("compile", "--image", IMAGE, "--set", f"job.image={image}")
    assert done.code == 2
    assert only_line(done.err).startswith(f"job.image {image}: ")
    assert not Path("pipeline.yaml").exists()


def test_without_an_image_or_a_store_it_is_said_what_is_missing(sharpen: Sharpen) -> None:
    with_store = ("--set", "store=s3://bucket/key")
    done = sharpen("compile", *with_store)
    assert done.code == 0
    (note,) = done.err.splitlines()
    assert "localhost/sharpen-python-cpu:dev and localhost/sharpen-python-launcher:dev" in note
    assert note.endswith("compile again with --image")
    assert sharpen("compile", "--image", IMAGE, *with_store).err == ""


def test_kubernetes_objects_for_gitops(tmp_path: Path) -> None:
    """A PipelineVersion cannot be changed once it is applied, so another content has another name."""
    package = compiled_text(tmp_path, "--image", IMAGE)
    pipeline, version = compiled(tmp_path, "--format", "kubernetes", "--image", IMAGE)
    assert (pipeline["kind"], pipeline["metadata"]["name"]) == ("Pipeline", "sharpen")
    # as `sharpen submit` names it
    name = f"sharpen-{hashlib.sha256(package.encode()).hexdigest()[:12]}"
    assert (version["kind"], version["metadata"]["name"]) == ("PipelineVersion", name)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name)
    assert version["spec"]["pipelineName"] == "sharpen"
    executors = version["spec"]["pipelineSpec"]["deploymentSpec"]["executors"].values()
    assert {executor["container"]["image"] for executor in executors} == {IMAGE}

    other = IMAGE.replace("0" * 64, "1" * 64)
    pipeline_too, version_too = compiled(tmp_path, "--format", "kubernetes", "--image", other)
    assert pipeline_too == pipeline
    assert version_too["metadata"]["name"] != name
    executors = version_too["spec"]["pipelineSpec"]["deploymentSpec"]["executors"].values()
    assert {executor["container"]["image"] for executor in executors} == {other}
