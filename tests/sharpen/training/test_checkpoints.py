"""Checkpoints at an address that outlives the machine, in a real object store."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.numpy import load_file

from sharpen.distributed import ProcessGroup
from sharpen.errors import InputError
from sharpen.store import storage
from sharpen.training import contrastive
from sharpen.training.checkpoints import checkpoints
from sharpen.training.checkpoints.checkpoints import Checkpoints, address_for, folder_for
from sharpen.training.checkpoints.optimizer_state import load_state, save_state
from sharpen.training.gradient.step import Step, gradient_step
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.sharpen.training.small_data import ENCODER, small_data
from tests.sharpen.training.trainings import run_all

STATE = '{"best_global_step": null, "best_model_checkpoint": null}'


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint data") / "set"
    with storage.publish(str(folder), producer="test") as place:
        small_data().save(place)
    return folder


def settings(folder: Path, **values: Any) -> TrainingSettings:
    common = {"train_batch_size": 8, "train_group_size": 4, "learning_rate": 1e-3, "save_steps": 2, "max_steps": 8}
    return TrainingSettings.checked({**common, "checkpoint_folder": str(folder / "local"), **values})


def run(data: Path, model: Path, output: str | Path, training: TrainingSettings) -> dict[str, Any]:
    return train(str(data), None, str(model), str(output), training, ENCODER)


def assert_equal_weights(one: str | Path, other: str | Path) -> None:
    first, second = (load_file(storage.open_artifact(str(place)) / "model.safetensors") for place in (one, other))
    assert first.keys() == second.keys()
    assert [name for name in first if not (first[name] == second[name]).all()] == []


def make(kept: Checkpoints, step: int, content: str = "weights", best: int | None = None) -> None:
    """A local checkpoint as the Trainer leaves it."""
    kept.path(step).mkdir(parents=True)
    (kept.path(step) / "model.safetensors").write_text(f"{content} {step}")
    (kept.path(step) / "trainer_state.json").write_text(STATE)
    kept.saved(step, best)


def stored(address: str) -> list[str]:
    return [file.name for file in storage.list_files(address)]


def crash_at(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], None] | None = None) -> None:
    """Let the training die, or `act`, before the gradient of a step (from 1)."""

    def broken(encoder: Any, layout: Any, *rest: Any) -> Step:
        if layout.batch.step + 1 == step:
            if act is None:
                raise RuntimeError("the power failed")
            act()
        return gradient_step(encoder, layout, *rest)

    monkeypatch.setattr(contrastive, "gradient_step", broken)


def test_where_the_copy_is(tmp_path: Path) -> None:
    facts = {"data": "a"}
    name = checkpoints.name_of(facts)
    assert address_for("auto", facts, str(tmp_path)) is None
    assert address_for("", facts, "s3://bucket/run/model") is None
    assert address_for("auto", facts, "s3://bucket/run/model/") == f"s3://bucket/run/model-checkpoints/{name}"
    asked = "s3://bucket/model?endpoint=http://host:9000"
    assert address_for("auto", facts, asked) == f"s3://bucket/model-checkpoints/{name}?endpoint=http://host:9000"
    assert address_for("s3://other/place", facts, "here") == f"s3://other/place/{name}"
    assert checkpoints.name_of({"data": "b"}) != name
    assert folder_for(str(tmp_path), facts, "one").name != folder_for(str(tmp_path), facts, "two").name


def test_optimiser_and_schedule_return_to_the_bit(tmp_path: Path) -> None:
    def parts() -> tuple[torch.nn.Linear, torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
        torch.manual_seed(1)
        model = torch.nn.Linear(7, 3)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        return model, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)

    def go(model: torch.nn.Linear, optimizer: torch.optim.AdamW, scheduler: Any, steps: range) -> None:
        for step in steps:
            optimizer.zero_grad()
            model(torch.full((2, 7), float(step))).square().sum().backward()
            optimizer.step()
            scheduler.step()

    whole = parts()
    go(*whole, range(6))
    broken = parts()
    go(*broken, range(3))
    save_state(tmp_path, broken[1], broken[2])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["optimizer.json", "optimizer.safetensors"]
    resumed = parts()
    resumed[0].load_state_dict(broken[0].state_dict())
    load_state(tmp_path, resumed[1], resumed[2])
    go(*resumed, range(3, 6))
    assert torch.equal(whole[0].weight, resumed[0].weight)
    assert whole[2].get_last_lr() == resumed[2].get_last_lr()


@pytest.mark.store
def test_the_copy_follows_the_folder(s3: str, tmp_path: Path) -> None:
    address = f"{s3}/follows"
    kept = Checkpoints(tmp_path / "one", address)
    make(kept, 2)
    make(kept, 4)
    kept.wait()
    assert kept.copy is not None
    assert kept.copy.steps() == {2, 4}
    shutil.rmtree(kept.path(2))
    make(kept, 6)
    kept.wait()
    assert kept.copy.steps() == {4, 6}
    assert not any(name.startswith("step-2/") for name in stored(address))
    assert storage.read_manifest(f"{address}/step-6").producer == "finetuning"

    # A process that was replaced and still runs must not delete what its successor wrote.
    old = Checkpoints(tmp_path / "old", address)
    make(old, 3)
    old.wait()
    assert kept.copy.steps() == {3, 4, 6}

    fresh = Checkpoints(tmp_path / "two", address)
    assert fresh.restore(ProcessGroup()) == fresh.path(6)
    assert (fresh.path(6) / "model.safetensors").read_text() == "weights 6"
    assert fresh.steps() == {6}
    # A newer local one comes first.
    make(fresh, 8)
    fresh.wait()
    assert fresh.restore(ProcessGroup()) == fresh.path(8)
    fresh.remove()
    assert not storage.exists(address)
    assert not fresh.folder.exists()


@pytest.mark.store
def test_half_a_copy_and_a_damaged_one_are_never_used(
    s3: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"{s3}/half"
    kept = Checkpoints(tmp_path / "one", address)
    make(kept, 2)
    make(kept, 4)
    kept.wait()
    storage.write_bytes(f"{address}/step-6/model.safetensors", b"the upload was cut short")
    storage.write_bytes(f"{address}/step-4/model.safetensors", b"WEIGHTS 4")
    fresh = Checkpoints(tmp_path / "two", address)
    assert fresh.restore(ProcessGroup()) == fresh.path(2)
    assert "checkpoint of step 4 cannot be used" in capsys.readouterr().out
    assert not fresh.path(4).exists()
    # Reached again, the damaged one is replaced.
    make(fresh, 4, "new")
    fresh.wait()
    last = Checkpoints(tmp_path / "three", address)
    assert last.restore(ProcessGroup()) == last.path(4)
    assert (last.path(4) / "model.safetensors").read_text() == "new 4"


def test_half_a_local_checkpoint_is_deleted(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, None)
    make(kept, 2)
    kept.path(4).mkdir()
    assert kept.restore(ProcessGroup()) == kept.path(2)
    assert not kept.path(4).exists()


@pytest.mark.store
@pytest.mark.model
def test_a_store_that_fails_only_warns(
    s3: str, data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    address = f"{s3}/fails"
    crash_at(monkeypatch, 3, lambda: monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not the secret"))
    run(data, tiny_model, tmp_path / "out", settings(tmp_path, checkpoint_address=address))
    told = capsys.readouterr().out
    # Three checkpoints could not be copied; that is told once, and at the end that the first copies stay.
    assert told.count("only kept on this machine") == 1
    assert told.count("warning: checkpoints stay at") == 1
    assert told.count("warning:") == 2
    assert "the secret is wrong" in told
    monkeypatch.undo()
    run(data, tiny_model, tmp_path / "alone", settings(tmp_path, save_steps=0))
    assert_equal_weights(tmp_path / "out", tmp_path / "alone")


@pytest.mark.store
@pytest.mark.model
def test_an_address_that_cannot_be_written_is_told_before_work(
    s3: str, data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no bucket 'nowhere'"):
        run(data, tiny_model, tmp_path / "out", settings(tmp_path, checkpoint_address="s3://nowhere/x"))


@pytest.mark.store
@pytest.mark.model
def test_the_best_model_and_the_patience_survive(
    s3: str, data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost machine between two dev evaluations: the same stop and weights; other settings begin anew."""
    # A logged loss is the mean since the point before: with a point at each checkpoint a death changes none of them.
    steps = {"max_steps": 24, "eval_steps": 2, "logging_steps": 2}
    chosen = settings(tmp_path, early_stopping_patience=3, learning_rate=5e-3, **steps)
    whole = run(data, tiny_model, tmp_path / "whole", chosen)
    # Where an older checkpoint is the best one, both must come back.
    broken_at = whole["best_step"] + 5
    assert broken_at < whole["steps"]
    chosen = chosen.model_copy(update={"checkpoint_address": f"{s3}/best"})
    crash_at(monkeypatch, broken_at)
    with pytest.raises(RuntimeError, match="power"):
        run(data, tiny_model, tmp_path / "first", chosen)
    monkeypatch.undo()
    places = {name.split("/")[1] for name in stored(f"{s3}/best")}
    assert places == {f"step-{whole['best_step']}", f"step-{whole['best_step'] + 4}"}
    shutil.rmtree(tmp_path / "local")
    other = run(data, tiny_model, tmp_path / "other", chosen.model_copy(update={"seed": 7, "max_steps": 2}))
    assert [point["step"] for point in other["log"] if "loss" in point] == [1, 2]
    # Another folder of another machine, another output: the path of the best model is a new one.
    chosen = chosen.model_copy(update={"checkpoint_folder": str(tmp_path / "elsewhere")})
    again = run(data, tiny_model, tmp_path / "second", chosen)
    assert [(p["step"], p.get("loss")) for p in again["log"]] == [(p["step"], p.get("loss")) for p in whole["log"]]
    assert (again["best_step"], again["steps"]) == (whole["best_step"], whole["steps"])
    assert_equal_weights(tmp_path / "second", tmp_path / "whole")
    assert stored(f"{s3}/best") == []


@pytest.mark.store
@pytest.mark.model
@pytest.mark.processes
@pytest.mark.parametrize("processes", [1, 2])
def test_a_machine_that_is_lost(
    s3: str, data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], processes: int
) -> None:
    """`kill -9` with dropout on, local checkpoints gone: resumed from the store to the weights of an unbroken run."""

    output = f"{s3}/lost-{processes}/model"
    place = f"{output}-checkpoints"

    def training(name: str, output: str, **values: Any) -> dict[str, Any]:
        chosen = settings(tmp_path / name, **{"max_steps": 40, "save_steps": 5, "logging_steps": 20, **values})
        addresses = {"data": str(data), "model": str(tiny_model), "output": output}
        return {**addresses, "settings": chosen.model_dump(exclude_unset=True)}

    def start(*trainings: dict[str, Any]) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.sharpen.training.trainings", json.dumps(trainings)]
        command += [str(processes)] if processes > 1 else []
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])

    deadline = time.monotonic() + 600
    lost = training("lost", output)
    with start(lost) as job:
        while not any(file.name.endswith(storage.MARKER) for file in storage.list_files(place)):
            assert job.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for process in [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]:
            process.kill()
    shutil.rmtree(tmp_path / "lost" / "local")
    found = [name.split("/")[-2] for name in stored(place) if name.endswith(storage.MARKER)]
    reached = max(int(name.removeprefix("step-")) for name in found)
    assert 5 <= reached < 40
    unbroken = str(tmp_path / "unbroken" / "out")
    both = [lost, training("unbroken", unbroken, checkpoint_address="", save_steps=0)]
    if processes == 1:
        run_all(both)
        told = capsys.readouterr().out
    else:
        with start(*both) as job:
            told, _ = job.communicate(timeout=600)
        assert job.returncode == 0
    assert f"Training from step {reached}:" in told
    assert_equal_weights(output, unbroken)
    assert not storage.exists(place)
