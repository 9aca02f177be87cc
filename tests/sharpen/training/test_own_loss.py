"""Whole trainings with a loss of the caller's own, as an object and by name, and with a guide model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharpen.losses import Loss, contrastive
from sharpen.store import storage
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.sharpen.losses.test_losses import Hinge
from tests.sharpen.training.small_data import ENCODER, small_data
from tests.sharpen.training.test_checkpoints import assert_equal_weights


def run(model: Path, folder: Path, name: str, own: Loss | None = None, **values: Any) -> dict[str, Any]:
    if not (folder / "set").exists():
        with storage.publish(str(folder / "set"), producer="test") as place:
            small_data().save(place)
    common = {"train_batch_size": 4, "train_group_size": 2, "max_steps": 2, "save_steps": 0, "logging_steps": 1}
    chosen = TrainingSettings.checked({**common, "checkpoint_folder": str(folder / "local"), **values})
    return train(str(folder / "set"), None, str(model), str(folder / name), chosen, ENCODER, loss=own)


@pytest.mark.model
def test_a_loss_of_ones_own_as_object_and_by_name(tiny_model: Path, tmp_path: Path) -> None:
    by_object = run(tiny_model, tmp_path, "object", Hinge(2.0))
    name = "tests.sharpen.losses.test_losses:Hinge"
    by_name = run(tiny_model, tmp_path, "name", loss=name, loss_arguments={"margin": 2.0})
    assert by_object["loss"] == by_name["loss"]
    assert by_object["loss"].startswith(f"{name} [('margin', 2.0)] ")
    assert_equal_weights(tmp_path / "object", tmp_path / "name")
    assert by_object["first_loss"] != run(tiny_model, tmp_path, "usual")["first_loss"]


@pytest.mark.model
def test_a_guide_masks_false_negatives(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    real = contrastive.loss_and_gradient

    def recorded(*arguments: Any, **named: Any) -> Any:
        seen.append(arguments[4].numpy())
        return real(*arguments, **named)

    monkeypatch.setattr("sharpen.training.gradient.step.loss_and_gradient", recorded)
    facts = run(tiny_model, tmp_path, "gist", loss="gist_embed", guide_model=str(tiny_model))
    monkeypatch.undo()
    assert 0 < facts["negatives_per_query"] < run(tiny_model, tmp_path, "usual")["negatives_per_query"]
    assert len(seen) == 2
    assert all(np.allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5) for one in seen)
