"""A training that dies at any point of saving a checkpoint goes on from a complete one, to the same weights."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from sharpen.distributed import ProcessGroup
from sharpen.store import storage
from sharpen.training import contrastive, loop
from sharpen.training.checkpoints.checkpoints import Checkpoints
from sharpen.training.dev_score import DevSet
from sharpen.training.gradient.step import Step, gradient_step
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.sharpen.training.small_data import ENCODER, small_data
from tests.sharpen.training.test_checkpoints import assert_equal_weights, make

# The best checkpoint is older than the last but one until the end, so that an older one goes when a new one comes.
SCORES = {0: 0.1, 2: 0.5, 4: 0.4, 6: 0.3, 8: 0.9}
BROKEN_AT = 6
TOUCHES_FILES = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"}


class Death(BaseException):
    """Nobody catches it, as nobody catches a kill."""


@pytest.mark.model
def test_death_at_every_point_of_saving(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with storage.publish(str(tmp_path / "set"), producer="test") as place:
        small_data().save(place)
    _score_by_step(monkeypatch)
    saving = _Saving(tmp_path)
    monkeypatch.setattr(loop.TrainingLoop, "save_checkpoint", saving)
    values = {"train_batch_size": 4, "train_group_size": 2, "learning_rate": 1e-3, "max_steps": 8, "eval_steps": 2}
    chosen = TrainingSettings.checked({**values, "checkpoint_folder": str(tmp_path / "local")})
    addresses = (str(tmp_path / "set"), None, str(tiny_model), str(tmp_path / "out"))
    assert train(*addresses, chosen, ENCODER)["best_step"] == 8
    monkeypatch.setattr(loop.TrainingLoop, "save_checkpoint", saving.real)
    (tmp_path / "out").rename(tmp_path / "whole")

    # the files of the new checkpoint, its mark, and the deletion of an older one
    touches = saving.touches
    assert any("trainer_state.json" in touch for touch in touches)
    marked = next(
        place for place, touch in enumerate(touches) if touch.startswith("os.rename") and storage.MARKER in touch
    )
    removed = next(place for place, touch in enumerate(touches) if touch.startswith("shutil.rmtree"))
    assert marked < removed < len(touches) - 1
    assert "checkpoint-4" in touches[removed]
    for place, touch in enumerate(touches):
        kept = Checkpoints(tmp_path / "deaths" / str(place), None)
        newest = kept.restore(ProcessGroup())
        assert newest is not None and newest == kept.path(4 if place <= marked else 6), touch
        names = {path.name for path in newest.iterdir()}
        assert {"model.safetensors", "optimizer.safetensors", "trainer_state.json"} <= names
        assert (kept.path(2) / "model.safetensors").is_file()
    # In the middle of the deletion: the next start goes on, to the same weights.
    shutil.copytree(tmp_path / "deaths" / str(removed + 2), saving.folder)
    capsys.readouterr()
    assert train(*addresses, chosen, ENCODER)["best_step"] == 8
    assert "Training from step 6:" in capsys.readouterr().out
    assert_equal_weights(tmp_path / "out", tmp_path / "whole")


def _score_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    reached = [0]

    def stepped(encoder: Any, layout: Any, *rest: Any) -> Step:
        reached[0] = layout.batch.step + 1
        return gradient_step(encoder, layout, *rest)

    monkeypatch.setattr(contrastive, "gradient_step", stepped)
    monkeypatch.setattr(DevSet, "ndcg", lambda *_: np.array([SCORES[reached[0]]]))


class _Saving:
    """Saves, but the checkpoint of step 6 once for each touch of a file, dying there; what is left then is kept."""

    def __init__(self, place: Path) -> None:
        self.place, self.folder, self.real = place, place, loop.TrainingLoop.save_checkpoint
        self.touches: list[str] = []
        self.last: str | None = None
        self.left = -1
        sys.addaudithook(self._hear)

    def __get__(self, instance: Any, owner: type) -> Any:
        return lambda *rest: self._save(instance, *rest)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.left >= 0 and event in TOUCHES_FILES:
            self.last = f"{event} {arguments[0]}"
            self.left -= 1
            if self.left < 0:
                raise Death(self.last)

    def _save(self, running: loop.TrainingLoop, *rest: Any) -> None:
        if running.state.global_step != BROKEN_AT:
            return self.real(running, *rest)
        self.folder = running.checkpoints.folder
        shutil.copytree(self.folder, self.place / "before")
        while True:
            self.left = len(self.touches)
            try:
                self.real(running, *rest)
            except Death:
                assert self.last is not None
                shutil.copytree(self.folder, self.place / "deaths" / str(len(self.touches)))
                self.touches.append(self.last)
                shutil.rmtree(self.folder)
                shutil.copytree(self.place / "before", self.folder)
            else:
                self.left = -1
                return None


def test_as_many_as_the_limit_are_kept_and_always_the_best(tmp_path: Path) -> None:
    for limit, expected in ((2, {2, 10}), (3, {2, 8, 10}), (9, {2, 4, 6, 8, 10})):
        kept = Checkpoints(tmp_path / str(limit), None, limit)
        for step in (2, 4, 6, 8, 10):
            make(kept, step, best=2)
        assert kept.steps() == expected
    kept = Checkpoints(tmp_path / "no best", None, 2)
    for step in (2, 4, 6):
        make(kept, step)
    assert kept.steps() == {4, 6}


@pytest.mark.parametrize("damage", ["missing", "cut short", "state missing", "mark of nothing"])
def test_a_damaged_checkpoint_counts_as_absent(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    kept = Checkpoints(tmp_path / "local", str(tmp_path / "copies"))
    make(kept, 2)
    make(kept, 4)
    kept.wait()

    def harm() -> None:
        if damage == "cut short":
            # Not in place: a copy on the same disk is another name of the file.
            (kept.path(4) / "model.safetensors").unlink()
            (kept.path(4) / "model.safetensors").write_text("wei")
        elif damage == "mark of nothing":
            (kept.path(4) / storage.MARKER).write_bytes(b"")
        else:
            (kept.path(4) / ("trainer_state.json" if damage == "state missing" else "model.safetensors")).unlink()

    harm()
    assert kept.steps() == {2}
    # The store has a good copy.
    assert kept.restore(ProcessGroup()) == kept.path(4)
    assert "checkpoint-4 cannot be used" in capsys.readouterr().out
    assert (kept.path(4) / "model.safetensors").read_text() == "weights 4"
    harm()
    # Without one, the next older is taken.
    alone = Checkpoints(tmp_path / "local", None)
    assert alone.restore(ProcessGroup()) == kept.path(2)
    assert not kept.path(4).exists()


@pytest.mark.model
def test_the_mean_of_the_last_checkpoints(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with storage.publish(str(tmp_path / "set"), producer="test") as place:
        small_data().save(place)
    monkeypatch.setattr(Checkpoints, "remove", lambda self: None)
    values = {"train_batch_size": 4, "train_group_size": 2, "learning_rate": 1e-2, "max_steps": 7, "save_steps": 2}
    values |= {"save_total_limit": 4, "average_checkpoints": 3, "checkpoint_folder": str(tmp_path / "local")}
    given = (str(tmp_path / "set"), None, str(tiny_model), str(tmp_path / "out"), TrainingSettings.checked(values))
    assert train(*given, ENCODER)["averaged_steps"] == [4, 6, 7]
    (folder,) = (tmp_path / "local").iterdir()
    states = [load_file(folder / f"checkpoint-{step}" / "model.safetensors") for step in (4, 6, 7)]
    found = load_file(tmp_path / "out" / "model.safetensors")
    for name, weight in found.items():
        mean = np.mean([state[f"model.{name}"].double().numpy() for state in states], axis=0)
        np.testing.assert_allclose(weight.numpy(), mean, rtol=1e-6, atol=1e-9)
    words = "embeddings.word_embeddings.weight"
    assert not np.array_equal(found[words], states[-1][f"model.{words}"])
    assert "mean of the weights after steps" in (tmp_path / "out" / "README.md").read_text()
