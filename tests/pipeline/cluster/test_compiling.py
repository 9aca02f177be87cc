"""The compiled pipeline, read back as kfp reads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import parameters

IMAGE = "registry.example/sharpen-python@sha256:" + "0" * 64


def compiled(tmp_path: Path, *options: str) -> list[dict[str, Any]]:
    target = tmp_path / "pipeline.yaml"
    command = [sys.executable, "-m", "pipeline.cli", "compile", "-o", str(target), *options]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return list(yaml.safe_load_all(target.read_text()))


def test_every_task_runs_our_image_and_the_form_is_documented(tmp_path: Path) -> None:
    spec = compiled(tmp_path, "--image", IMAGE, "--set", "training.temperature=0.05")[0]
    images = {executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()}
    assert images == {IMAGE}
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    assert set(inputs) == {*parameters.TOP_LEVEL, "overrides"}
    assert all(field["description"] for field in inputs.values())
    assert inputs["overrides"]["defaultValue"] == '{"training": {"temperature": 0.05}}'


def test_the_yaml_is_the_same_every_time(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert compiled(tmp_path / "a", "--image", IMAGE) == compiled(tmp_path / "b", "--image", IMAGE)


def test_decisions_are_never_cached_and_work_is(tmp_path: Path) -> None:
    spec = compiled(tmp_path, "--image", IMAGE)[0]
    dags = [spec["root"]["dag"], *(c["dag"] for c in spec["components"].values() if "dag" in c)]
    cached = {
        name: task.get("cachingOptions", {}).get("enableCache", False)
        for dag in dags
        for name, task in dag["tasks"].items()
        if "dag" not in spec["components"][task["componentRef"]["name"]]
    }
    assert {name for name, value in cached.items() if not value} == {
        *("check-settings", "current-champion", "finish", "fingerprint", "gate", "promotion")
    }
    exit_task = spec["root"]["dag"]["tasks"]["finish"]
    assert exit_task["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_rounds_are_unrolled(tmp_path: Path, rounds: int) -> None:
    spec = compiled(tmp_path, "--image", IMAGE, "--set", f"mining.rounds={rounds}")[0]
    (tasks,) = (
        c["dag"]["tasks"] for c in spec["components"].values() if "data-prep" in c.get("dag", {}).get("tasks", {})
    )

    def inputs(task: str) -> dict[str, Any]:
        return tasks[task]["inputs"]["parameters"]

    names = [f"-{number}" if number > 1 else "" for number in range(1, rounds + 1)]
    assert {name for name in tasks if "hard-negatives" in name} == {f"hard-negatives{name}" for name in names}
    miner = {"componentInputParameter": "pipelinechannel--base_model"}
    for name in names:
        mined, tuned = inputs(f"hard-negatives{name}"), inputs(f"finetuning{name}")
        assert mined["model"] == miner
        assert mined["name"]["runtimeValue"]["constant"] == f"hard_negatives{name}"
        assert tuned["name"]["runtimeValue"]["constant"] == f"finetuning{name}"
        # every round trains the base model, with the negatives of its own round
        assert tuned["base_model"] == {"componentInputParameter": "pipelinechannel--base_model"}
        assert tuned["negatives"]["taskOutputParameter"]["producerTask"] == f"hard-negatives{name}"
        miner = {"taskOutputParameter": {"outputParameterKey": "Output", "producerTask": f"finetuning{name}"}}
    (measured,) = (
        name for name in tasks if inputs(name).get("name", {}).get("runtimeValue") == {"constant": "evaluation-tuned"}
    )
    assert inputs(measured)["model"] == miner
    assert inputs("check-settings")["compiled_rounds"]["runtimeValue"]["constant"] == rounds


def test_kubernetes_objects_for_gitops(tmp_path: Path) -> None:
    documents = compiled(tmp_path, "--format", "kubernetes", "--image", IMAGE)
    assert [document["kind"] for document in documents] == ["Pipeline", "PipelineVersion"]
