"""Whole trainings with the weights in shards: what comes out is what comes out without, and it goes on to the bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from sharpen.errors import InputError
from sharpen.store import storage
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import check_settings
from tests.sharpen.training.small_data import small_data
from tests.sharpen.training.trainings import run_all

pytestmark = [pytest.mark.processes, pytest.mark.model]
ROOT = Path(__file__).parents[3]
COMMON = {"train_batch_size": 8, "train_group_size": 4, "logging_steps": 1, "temperature": 0.1, "learning_rate": 1e-3}
# dropout is the model's own where it is not set: its bits must be the same with shards and without
TRAININGS: dict[str, dict[str, Any]] = {
    "watched": {"eval_steps": 2, "max_steps": 4, "learning_rate": 5e-3, "share_encoder": False},
    "softened": {
        "on_divergence": "soften",
        "save_steps": 2,
        "max_steps": 4,
        "average_checkpoints": 2,
        "lora_rank": 4,
        "gradient_cache": "on",
        "sub_batch_size": 8,
    },
    "stopped": {"max_steps": 4, "save_steps": 100, "sub_batch_size": 12},
    "moved": {"max_steps": 4, "save_steps": 100, "dropout": 0.0},
}


@pytest.fixture(scope="module")
def models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all trainings, made by two processes; ``NAME whole`` are those without shards."""
    folder = tmp_path_factory.mktemp("shards")
    with storage.publish(str(folder / "set"), producer="test") as place:
        small_data().save(place)

    def training(name: str, output: str, **more: Any) -> dict[str, Any]:
        values = {**COMMON, **TRAININGS[name], "checkpoint_folder": str(folder / "local"), "fsdp": True, **more}
        addresses = {"data": str(folder / "set"), "model": str(tiny_model), "output": str(folder / output)}
        diverges = {"diverges": ([3], {"below": 0.15})} if name == "softened" else {}
        return {**addresses, "settings": values, **diverges}

    made = [training(name, f"{name}{' whole' * whole}", fsdp=not whole) for name in TRAININGS for whole in (0, 1)]
    made = [one for one in made if Path(one["output"]).name not in ("moved", "stopped")]
    made += [
        {**training("stopped", "stopped"), "sigterm_at": 2},
        training("stopped", "stopped"),
        training("stopped", "unbroken"),
        {**training("moved", "moved"), "sigterm_at": 2},
    ]
    command = [sys.executable, "-W", "ignore", "-m", "tests.sharpen.training.trainings", json.dumps(made), "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, timeout=240, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "log").write_text(done.stdout + done.stderr)
    # where two processes stopped, one goes on
    assert not (folder / "moved").exists()
    run_all([training("moved", "moved")])
    return folder


def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "training.json").read_text())


def curve(folder: Path) -> dict[str, list[float]]:
    log = facts(folder)["log"]
    return {name: [p[name] for p in log if name in p] for name in ("loss", "grad_norm", "eval_dev_ndcg_at_10")}


def weights(folder: Path) -> dict[str, np.ndarray]:
    return {
        f"{file.parent.relative_to(folder)}/{name}": tensor
        for file in sorted(folder.rglob("model.safetensors"))
        for name, tensor in load_file(file).items()
    }


@pytest.mark.parametrize("name", ["watched", "softened", "moved"])
def test_the_same_model_and_figures_as_without_shards(models: Path, name: str) -> None:
    found, expected = models / name, models / f"{name} whole"
    assert [p.relative_to(found) for p in sorted(found.rglob("*"))] == [
        p.relative_to(expected) for p in sorted(expected.rglob("*"))
    ]
    for figure, values in curve(expected).items():
        assert curve(found)[figure] == pytest.approx(values, rel=1e-3), figure
    ours, theirs = weights(found), weights(expected)
    assert ours.keys() == theirs.keys()
    for key, tensor in theirs.items():
        np.testing.assert_allclose(ours[key], tensor, rtol=0, atol=1e-4, err_msg=key)
    for file in ("config.json", "config_sharpen.json", "modules.json", "tokenizer_config.json"):
        for path in found.rglob(file):
            assert path.read_text() == (expected / path.relative_to(found)).read_text(), file
    assert facts(found)["trained_weights"] == facts(expected)["trained_weights"]


def test_the_best_step_and_the_softened_temperature_are_the_same(models: Path) -> None:
    one, two = facts(models / "watched"), facts(models / "watched whole")
    assert len(set(curve(models / "watched")["eval_dev_ndcg_at_10"])) > 1
    assert (one["best_step"], one["towers"]) == (two["best_step"], 2)
    one, two = facts(models / "softened"), facts(models / "softened whole")
    assert [(s["step"], s["temperature_after"]) for s in one["temperature_increases"]] == [(3, 0.2)]
    assert one["averaged_steps"] == two["averaged_steps"] == [2, 4]


def test_stopped_and_resumed_is_uninterrupted_to_the_bit(models: Path) -> None:
    log = (models / "log").read_text()
    assert "weights in shards" in log
    assert "checkpoint-2" in log and "going on from" in log
    found, expected = weights(models / "stopped"), weights(models / "unbroken")
    assert found.keys() == expected.keys()
    for name in expected:
        assert np.array_equal(found[name], expected[name]), name
    assert curve(models / "stopped") == curve(models / "unbroken")


def test_an_optimizer_that_needs_whole_weights_is_refused() -> None:
    chosen = TrainingSettings.checked({"fsdp": True, "training_arguments": {"optim": "adafactor"}})
    with pytest.raises(InputError, match=r"fsdp: adafactor needs whole weights; set training_arguments\.optim to one"):
        check_settings(chosen)
    check_settings(chosen.model_copy(update={"fsdp": False}))
