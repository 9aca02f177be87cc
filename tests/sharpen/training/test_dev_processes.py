"""Dev evaluation, early stopping, the best checkpoint and softening do on two processes what they do on one."""

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

from sharpen.store import storage
from sharpen.training.watching.dev_scores import DevScores
from tests.sharpen.training.small_data import small_data
from tests.sharpen.training.trainings import run_all

pytestmark = [pytest.mark.processes, pytest.mark.model]
ROOT = Path(__file__).parents[3]
COMMON = {"train_batch_size": 8, "train_group_size": 4, "dropout": 0.0, "logging_steps": 1, "temperature": 0.1}
WATCHED = {"eval_steps": 2, "early_stopping_patience": 2, "max_steps": 24, "learning_rate": 5e-3}
STOPPED = {"eval_steps": 1, "max_steps": 6}
SOFTENED = {"on_divergence": "soften", "save_steps": 2, "max_steps": 6, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dev processes")


@pytest.fixture(scope="module")
def told(tiny_model: Path, folder: Path) -> dict[str, tuple[dict, dict, Path, Path]]:
    """Name of a training -> what one process and two processes told of it, and their models."""
    with storage.publish(str(folder / "set"), producer="test") as place:
        small_data().save(place)

    def trainings(size: int) -> list[dict[str, Any]]:
        made = []
        for name, values in {"watched": WATCHED, "softened": SOFTENED, "stopped": STOPPED}.items():
            addresses = {
                "data": str(folder / "set"),
                "model": str(tiny_model),
                "output": str(folder / f"{name} {size}"),
            }
            settings = {**COMMON, **values, "checkpoint_folder": str(folder / "local")}
            diverges = {"diverges": ([4], {"below": 0.15})} if name == "softened" else {}
            if name == "watched":
                settings["dev_scores_address"] = str(folder / f"scores {size}.json")
            stops = {"stops_at": 2} if name == "stopped" else {}
            made.append({**addresses, "settings": settings, **diverges, **stops})
        return made

    run_all(trainings(1))
    command = [sys.executable, "-m", "tests.sharpen.training.trainings", json.dumps(trainings(2)), "2"]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=600)
    found = {}
    for name in ("watched", "softened"):
        places = [folder / f"{name} {size}" for size in (1, 2)]
        facts = [json.loads((place / "training.json").read_text()) for place in places]
        assert [one["world_size"] for one in facts] == [1, 2]
        found[name] = (*facts, *places)
    return found


def assert_close_weights(one: Path, two: Path) -> None:
    first, second = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    for name, weights in first.items():
        np.testing.assert_allclose(second[name], weights, rtol=0, atol=2e-4, err_msg=name)


def test_the_same_dev_scores_and_the_same_chosen_step(told: dict[str, Any]) -> None:
    one, two, *models = told["watched"]

    def scores(facts: dict[str, Any]) -> list[tuple[int, float]]:
        return [
            (point["step"], point["eval_dev_ndcg_at_10"]) for point in facts["log"] if "eval_dev_ndcg_at_10" in point
        ]

    assert [step for step, _ in scores(one)] == [step for step, _ in scores(two)]
    assert [score for _, score in scores(two)] == pytest.approx([score for _, score in scores(one)], abs=1e-6)
    assert len({score for _, score in scores(one)}) > 2
    assert (one["best_step"], one["steps"]) == (two["best_step"], two["steps"])
    # Stopped by patience, with an older step chosen: both would differ if a process judged for itself.
    assert one["steps"] == one["best_step"] + 4 < 24
    assert_close_weights(*models)


def test_two_processes_soften_as_one_does(told: dict[str, Any]) -> None:
    one, two, *models = told["softened"]
    assert [(s["step"], s["temperature_after"]) for s in one["temperature_increases"]] == [(4, 0.2)]
    for first, second in zip(one["temperature_increases"], two["temperature_increases"], strict=True):
        assert {**first, "reason": ""} == {**second, "reason": ""}
    losses = [[point["loss"] for point in facts["log"] if "loss" in point] for facts in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert_close_weights(*models)


def test_what_the_first_process_says_ends_all(told: dict[str, Any], folder: Path) -> None:
    alone, first, second = (
        json.loads((folder / f"stopped {name}.json").read_text(encoding="utf-8")) for name in ("1-0", "2-0", "2-1")
    )
    assert first == alone == {"asked": [0, 1, 2], "stopped": True, "steps": 2}
    assert second == {"asked": [], "stopped": True, "steps": 2}
    assert not (folder / "stopped 2").exists()


def test_the_file_of_dev_scores_has_what_the_log_has_however_many_processes(told: dict[str, Any], folder: Path) -> None:
    for facts, size in zip(told["watched"][:2], (1, 2), strict=True):
        found = DevScores.read(str(folder / f"scores {size}.json"))
        assert found is not None
        logged = [(p["step"], p["eval_dev_ndcg_at_10"]) for p in facts["log"] if "eval_dev_ndcg_at_10" in p]
        assert [(step, score) for step, score, _ in found.points] == logged
        assert (found.steps, found.queries, found.data_fingerprint) == (24, 4, facts["data_fingerprint"])
        assert found.model == str(folder / f"watched {size}")
        # of each query at the step that was chosen; the file keeps six digits
        assert np.mean(found.best_values) == pytest.approx(max(score for _, score, _ in found.points[1:]), abs=1e-6)
        assert found.values_of == facts["best_step"] and found.groups == [0, 1, 2, 3]
        times = [when for *_, when in found.points]
        assert times == sorted(times) and times[0] < times[-1]
