"""Steps laid out ahead, in worker processes, are the steps that are laid out when needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file

from sharpen.store import storage
from sharpen.training import contrastive
from sharpen.training.gradient.step import gradient_step
from sharpen.training.optimization import arguments
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.sharpen.training.small_data import ENCODER, small_data

pytestmark = [pytest.mark.model, pytest.mark.processes]


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A data set of two sources whose texts are long enough to be shuffled."""
    made = small_data(queries=40, sources=("a", "a", "b"))
    made.corpus = made.corpus.with_columns(pl.concat_str([pl.col("text")] * 6, separator=" and "))
    with storage.publish(str(tmp_path / "data"), producer="test", run_id="") as place:
        made.save(place)
    return str(tmp_path / "data")


def settings(folder: Path, workers: int) -> TrainingSettings:
    given: dict[str, Any] = {"train_batch_size": 14, "train_group_size": 4, "learning_rate": 1e-3, "max_steps": 12}
    given |= {"shuffle_ratio": 0.5, "source_temperature": 3, "same_dataset_within_batch": True, "save_steps": 4}
    given |= {"checkpoint_folder": str(folder / "checkpoints"), "no_inbatch_sources": ["b"]}
    return TrainingSettings.checked({**given, "training_arguments": {"dataloader_num_workers": workers}})


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert np.array_equal(value, other[name]), name


def test_workers_give_the_same_model_and_a_broken_run_goes_on_without_them(
    data: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    facts = train(data, None, str(tiny_model), str(tmp_path / "without"), settings(tmp_path, 0), ENCODER)
    expected = weights(tmp_path / "without")
    # 27 ** (1 / 3) : 13 ** (1 / 3) = 3 : 2.35
    shares = {"a": {"queries": 27, "queries_per_epoch": 22}, "b": {"queries": 13, "queries_per_epoch": 18}}
    assert facts["sources"] == shares
    assert facts["counts"]["steps_per_epoch"] == 4
    (warning,) = facts["warnings"]
    assert warning.startswith("source b: 13 queries, fewer than a batch of 14; it is trained in 2 smaller batch(es)")
    assert f"warning: {warning}" in capfd.readouterr().out
    train(data, None, str(tiny_model), str(tmp_path / "with"), settings(tmp_path, 2), ENCODER)
    assert_equal(weights(tmp_path / "with"), expected)
    told = capfd.readouterr()
    # tokenizers warns when a process that used its threads is forked and then tokenises with threads of its own
    assert "forked" not in told.err + told.out

    steps = []

    def breaking(*parts: Any) -> Any:
        steps.append(1)
        if len(steps) == 7:
            raise RuntimeError("power cut")
        return gradient_step(*parts)

    monkeypatch.setattr(contrastive, "gradient_step", breaking)
    with pytest.raises(RuntimeError, match="power cut"):
        train(data, None, str(tiny_model), str(tmp_path / "broken"), settings(tmp_path, 2), ENCODER)
    monkeypatch.undo()
    # the number of workers is no part of what a checkpoint belongs to
    train(data, None, str(tiny_model), str(tmp_path / "broken"), settings(tmp_path, 1), ENCODER)
    assert "Training from step 4" in capfd.readouterr().out
    assert_equal(weights(tmp_path / "broken"), expected)


def test_as_many_workers_as_there_are_cores_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert arguments.workers() == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for cores, local, expected in ((16, 1, 2), (16, 8, 1), (8, 8, 0), (2, 1, 1)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cores=cores: set(range(cores)))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
        assert arguments.workers() == expected
