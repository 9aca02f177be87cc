"""As many steps as fit into `max_train_minutes`, on their own schedule; what a checkpoint keeps."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from sharpen.distributed import ProcessGroup
from sharpen.errors import StepFailed
from sharpen.hardware import measurement
from sharpen.models.encoder import Encoder
from sharpen.store import storage
from sharpen.training import contrastive, time_limit
from sharpen.training.checkpoints import arithmetic
from sharpen.training.gradient.step import gradient_step
from sharpen.training.report import render_page
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.sharpen.training.small_data import ENCODER, small_data

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("time limit") / "data"
    with storage.publish(str(folder), producer="test", run_id="") as place:
        small_data().save(place)
    return folder


class Slow:
    """A step that takes so long at least, and fails when it has been called so often."""

    def __init__(self, seconds: float, fails_after: int = 10**9) -> None:
        self.seconds, self.left = seconds, fails_after

    def __call__(self, *given: Any) -> Any:
        if self.left == 0:
            raise StepFailed("this machine was taken away")
        self.left -= 1
        time.sleep(self.seconds)
        return gradient_step(*given)


def run(data: Path, model: Path, folder: Path, output: str, **values: Any) -> dict[str, Any]:
    common = {"train_batch_size": 8, "train_group_size": 4, "logging_steps": 1, "save_steps": 4}
    settings = TrainingSettings.checked({**common, "checkpoint_folder": str(folder / "checkpoints"), **values})
    return train(str(data), None, str(model), str(folder / output), settings, ENCODER)


def let_steps_take(monkeypatch: pytest.MonkeyPatch, step: Slow) -> None:
    monkeypatch.setattr(contrastive, "gradient_step", step)
    monkeypatch.setattr(time_limit, "gradient_step", step)


def test_the_steps_and_their_schedule_fit_and_a_second_start_keeps_them(
    data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    # so much that five steps fit on a machine with other work too
    minutes = 0.3
    let_steps_take(monkeypatch, Slow(0.3, fails_after=4 + 5))
    with pytest.raises(StepFailed, match="taken away"):
        run(data, tiny_model, tmp_path, "out", max_steps=500, max_train_minutes=minutes)
    told = capsys.readouterr().out
    (checkpoint,) = tmp_path.glob("checkpoints/*/checkpoint-4")
    decided = json.loads((checkpoint / time_limit.FILE).read_text())
    assert decided["steps_requested"] == 500 and decided["seconds_a_step"] >= 0.3
    assert 5 <= decided["steps"] <= 60
    assert f"{decided['steps']:,} of 500 steps are trained" in told

    # now the machine is fast, and nothing is measured again
    let_steps_take(monkeypatch, Slow(0.0))
    facts = run(data, tiny_model, tmp_path, "out", max_steps=500, max_train_minutes=minutes)
    assert "are trained" not in capsys.readouterr().out
    assert facts["time_limit"]["steps"] == facts["steps"] == decided["steps"]
    rates = [point["learning_rate"] for point in facts["log"] if "loss" in point]
    assert rates[-1] <= 2 * max(rates) / decided["steps"], "the schedule is over with the last step"
    assert f"max_train_minutes 0.3: a step takes {decided['seconds_a_step']:.2f} s" in render_page(facts)

    # as many steps without a limit give the same model: the trial changed nothing
    run(data, tiny_model, tmp_path, "same", max_steps=decided["steps"])
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "same"))
    assert all((one[name] == other[name]).all() for name in one)


def test_where_all_steps_fit_all_are_trained(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    facts = run(data, tiny_model, tmp_path, "out", max_steps=2, max_train_minutes=60)
    assert facts["steps"] == facts["time_limit"]["steps"] == facts["time_limit"]["steps_requested"] == 2


def test_a_checkpoint_keeps_precision_and_attention(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """It goes on where bf16 is slow as it began where bf16 was fast."""
    here = measurement.choices()
    monkeypatch.setattr(measurement, "_chosen", here)
    monkeypatch.setenv(measurement.VARIABLE, json.dumps(here))
    fast = {
        name: dict.fromkeys(table, "eager_bf16" if "bf16" in name else "eager")
        for name, table in here["attention"].items()
    }
    slow = {name: dict.fromkeys(table, "sdpa") for name, table in here["attention"].items()}
    auto = ENCODER.model_copy(update={"precision": "auto"})

    measurement.adopt({**here, "precision": "bf16", "attention": fast})
    begun = Encoder.load(str(tiny_model), auto, device="cpu", training=True)
    assert (begun.precision, begun.attention) == ("bf16", "eager_bf16")
    arithmetic.save(tmp_path, begun)

    measurement.adopt({**here, "precision": "fp32", "attention": slow})
    goes_on = Encoder.load(str(tiny_model), auto, device="cpu", training=True)
    assert (goes_on.precision, goes_on.attention) == ("fp32", "sdpa")
    arithmetic.restore(tmp_path, goes_on, ProcessGroup())
    assert (goes_on.precision, goes_on.attention) == ("bf16", "eager_bf16")
    assert "computed with bf16 and eager_bf16 attention" in capsys.readouterr().out
