"""After a divergence training goes back to the last good checkpoint with a higher temperature, or stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sharpen.distributed import local_part, whole
from sharpen.errors import InputError
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.training import contrastive
from sharpen.training.divergence import DivergenceError
from sharpen.training.gradient.step import Step, gradient_step
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.sharpen.training.small_data import ENCODER, small_data

pytestmark = pytest.mark.model


class Poison:
    """Makes the gradient infinite at chosen steps (from 1) while the temperature is below a limit; notes every step."""

    def __init__(self, *steps: int, below: float, loss: bool = False) -> None:
        self.steps, self.below, self.loss = steps, below, loss
        self.seen: list[tuple[int, float]] = []
        self.weights: dict[tuple[int, float], torch.Tensor] = {}

    def __call__(self, encoder: Any, layout: Any, objective: Any, *rest: Any) -> Step:
        found = gradient_step(encoder, layout, objective, *rest)
        at = (layout.batch.step + 1, objective.temperature)
        self.seen.append(at)
        self.weights[at] = torch.cat([whole(p.detach()).reshape(-1).clone() for p in encoder.parameters()])
        if at[0] not in self.steps or objective.temperature >= self.below:
            return found
        if self.loss:
            return Step(float("nan"), found.negatives, found.embeddings)
        parameter = next(p for p in encoder.parameters() if p.grad is not None)
        assert parameter.grad is not None
        local_part(parameter.grad)[0] = torch.inf
        return found


def run(
    folder: Path, model: Path, output: str = "out", encoder: EncoderSettings = ENCODER, **values: Any
) -> dict[str, Any]:
    if not (folder / "set").exists():
        with storage.publish(str(folder / "set"), producer="test") as place:
            small_data().save(place)
    common = {"train_batch_size": 8, "train_group_size": 3, "max_steps": 7, "save_steps": 2, "temperature": 0.1}
    chosen = TrainingSettings.checked({**common, "checkpoint_folder": str(folder / "local"), **values})
    return train(str(folder / "set"), None, str(model), str(folder / output), chosen, encoder)


def test_goes_back_to_the_last_checkpoint(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison = Poison(4, below=0.3)
    monkeypatch.setattr(contrastive, "gradient_step", poison)
    facts = run(tmp_path, tiny_model, on_divergence="soften")
    soft, softer = 0.2, 0.4
    assert poison.seen == [
        *((step, 0.1) for step in (1, 2, 3, 4)),
        *((step, soft) for step in (3, 4)),
        *((step, softer) for step in (3, 4, 5, 6, 7)),
    ]
    # Back to the weights after step 2, not to those that diverged.
    assert torch.equal(poison.weights[3, 0.1], poison.weights[3, softer])
    assert not torch.equal(poison.weights[4, 0.1], poison.weights[4, softer])
    told = facts["temperature_increases"]
    assert [(t["step"], t["temperature_before"], t["temperature_after"]) for t in told] == [
        (4, 0.1, 0.2),
        (4, 0.2, 0.4),
    ]
    assert all("gradient norm inf" in t["reason"] for t in told)
    assert facts["steps"] == 7
    assert facts["settings"]["temperature"] == 0.1
    assert json.loads((tmp_path / "out" / "training.json").read_text())["temperature_increases"] == told
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- step 4: temperature 0.1 -> 0.2 (loss " in card
    assert "- step 4: temperature 0.2 -> 0.4 (loss " in card


@pytest.mark.parametrize("save_steps", [0, 5])
def test_goes_back_to_the_start(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_steps: int
) -> None:
    poison = Poison(3, below=0.15, loss=True)
    monkeypatch.setattr(contrastive, "gradient_step", poison)
    facts = run(tmp_path, tiny_model, on_divergence="soften", save_steps=save_steps)
    assert [t["reason"].split(",")[0] for t in facts["temperature_increases"]] == ["loss nan"]
    monkeypatch.undo()
    # Nothing of the first attempt is left: the same as a training with the higher temperature from the start.
    run(tmp_path, tiny_model, "soft", temperature=0.2, on_divergence="soften", save_steps=save_steps)
    places = [tmp_path / name / "model.safetensors" for name in ("out", "soft")]
    assert places[0].read_bytes() == places[1].read_bytes()


def test_stops_after_the_last_softening(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison = Poison(4, below=99)
    monkeypatch.setattr(contrastive, "gradient_step", poison)
    with pytest.raises(DivergenceError, match="diverged at step 4"):
        run(tmp_path, tiny_model, on_divergence="soften")
    assert [temperature for step, temperature in poison.seen if step == 4] == [0.1, 0.2, 0.4, 0.8]
    assert not (tmp_path / "out").exists()
    # The checkpoint stays, so that the user can go on from it with other data left out; nothing diverged is in it.
    assert len(list(tmp_path.glob("local/*/checkpoint-2/_SUCCESS.json"))) == 1


def test_a_broken_run_goes_on_with_the_temperature_it_had(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Poison(3, below=0.15)
    monkeypatch.setattr(contrastive, "gradient_step", whole)
    expected = run(tmp_path, tiny_model, "whole", on_divergence="soften")
    broken = Poison(3, below=0.15)

    def dies(encoder: Any, layout: Any, *rest: Any) -> Step:
        if layout.batch.step + 1 == 6:
            raise RuntimeError("the power failed")
        return broken(encoder, layout, *rest)

    monkeypatch.setattr(contrastive, "gradient_step", dies)
    with pytest.raises(RuntimeError, match="power"):
        run(tmp_path, tiny_model, on_divergence="soften")
    again = Poison(3, below=0.15)
    monkeypatch.setattr(contrastive, "gradient_step", again)
    facts = run(tmp_path, tiny_model, on_divergence="soften")
    assert again.seen == [(step, 0.2) for step in (5, 6, 7)]
    assert facts["temperature_increases"] == expected["temperature_increases"]
    places = [tmp_path / name / "model.safetensors" for name in ("out", "whole")]
    assert places[0].read_bytes() == places[1].read_bytes()


def test_soften_needs_a_temperature_that_may_change(tiny_model: Path, tmp_path: Path) -> None:
    plain = ENCODER.model_copy(update={"normalize_embeddings": False})
    with pytest.raises(InputError, match="on_divergence: soften"):
        run(tmp_path, tiny_model, encoder=plain, on_divergence="soften", temperature=1.0)
