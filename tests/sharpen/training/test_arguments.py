"""Every field of transformers' `TrainingArguments` is passed on with effect, or refused in a line that says why."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from sharpen.errors import InputError
from sharpen.store import storage
from sharpen.training import allowed_arguments, arguments
from sharpen.training.arguments import training_arguments
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import check_settings, train
from tests.sharpen.training.small_data import ENCODER, small_data

CONDITIONAL = {"eval_delay", "run_name", "project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"}


def fields() -> dict[str, Any]:
    """Name -> default; accumulated steps become a part of the batch size."""
    found = {field.name: field.default for field in dataclasses.fields(TrainingArguments)}
    found.pop("gradient_accumulation_steps")
    return found


def refused(name: str, value: Any, **settings: Any) -> str:
    """The line that refuses a field; empty: it is passed on."""
    found = allowed_arguments.faults_of(TrainingSettings(training_arguments={name: value}, **settings))
    return found[0] if found else ""


def test_every_field_of_this_version_is_decided_on() -> None:
    passed = {name for name in fields() if not refused(name, None, eval_steps=1, report_to=["trackio"])}
    assert passed == allowed_arguments.PASSED_ON | CONDITIONAL
    for name in fields().keys() - passed:
        line = refused(name, None)
        assert line.startswith(f"training_arguments.{name}: ") and "\n" not in line
        assert "is not known to this trainer" not in line, f"{name}: say in allowed_arguments.py what it is here"
    for name in CONDITIONAL:
        assert "no effect without" in refused(name, None)


def test_no_field_is_both_passed_on_and_set_by_us() -> None:
    """Otherwise Python refuses it as given twice."""
    given = {name: default for name, default in fields().items() if name in allowed_arguments.PASSED_ON | CONDITIONAL}
    given |= {"dataloader_num_workers": 1, "full_determinism": False}
    chosen = TrainingSettings(training_arguments=given, eval_steps=1)
    made = training_arguments(chosen, Path("somewhere"), 3, evaluate=True)
    assert made.dataloader_num_workers == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"adam_beta3": 1}, "no such field"),
        ({"learning_rate": 1}, "setting of its own"),
        ({"bf16": True}, "use encoder.precision"),
        ({"label_smoothing_factor": 0.1}, "loss is this trainer's own"),
        ({"neftune_noise_alpha": 5}, "not supported"),
        ({"disable_tqdm": False}, "not supported"),
        ({"use_cpu": True}, "CUDA_VISIBLE_DEVICES= hides it"),
        ({"log_level": "info"}, "not supported"),
        ({"logging_first_step": False}, "the first step is always logged"),
        ({"deepspeed": "x.json"}, "every process holds the whole model"),
        ({"dataloader_drop_last": True}, "the last, smaller batch is trained"),
        ({"optim": "no_such_optimiser"}, "transformers refuses"),
        ({"dataloader_prefetch_factor": 2}, "transformers refuses"),
    ],
)
def test_refused_before_any_data_are_read(given: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as told:
        check_settings(TrainingSettings(training_arguments=given))
    assert len(told.value.faults) == 1


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arguments data") / "set"
    with storage.publish(str(folder), producer="test") as place:
        small_data().save(place)
    return folder


def run(data: Path, model: Path, folder: Path, **values: Any) -> dict[str, Any]:
    common = {"train_batch_size": 4, "train_group_size": 2, "max_steps": 4, "save_steps": 0, "logging_steps": 1}
    chosen = TrainingSettings.checked({**common, "checkpoint_folder": str(folder / "local"), **values})
    return train(str(data), None, str(model), str(folder / "out"), chosen, ENCODER)


@pytest.mark.model
def test_what_is_passed_on_has_an_effect(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    given = {"optim": "sgd", "lr_scheduler_kwargs": {"num_cycles": 1.0}, "skip_memory_metrics": False, "eval_delay": 4}
    facts = run(
        *(data, tiny_model, tmp_path),
        training_arguments=given,
        lr_scheduler_type="cosine",
        warmup_steps=0,
        learning_rate=1.0,
        eval_steps=2,
    )
    rates = [point["learning_rate"] for point in facts["log"] if "learning_rate" in point]
    # a whole cosine comes back up; transformers' default, half of one, only falls
    assert rates == pytest.approx([1.0, 0.5, 0.0, 0.5], abs=1e-6)
    assert any("train_mem_cpu_alloc_delta" in point for point in facts["log"])
    assert [point["step"] for point in facts["log"] if "eval_dev_ndcg_at_10" in point] == [0, 4]
    assert facts["settings"]["training_arguments"] == json.loads(json.dumps(given))


@pytest.mark.model
def test_one_process_uses_one_of_several_gpus(
    data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted as four, on a CPU: the Trainer would put its own DataParallel around the encoder."""

    class OnGpus(TrainingArguments):
        def __post_init__(self) -> None:
            self.use_cpu = False
            super().__post_init__()

    monkeypatch.setattr(arguments, "TrainingArguments", OnGpus)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    made = training_arguments(TrainingSettings(), tmp_path, 3, evaluate=False)
    assert (made.n_gpu, made.train_batch_size) == (1, 1)
    assert run(data, tiny_model, tmp_path)["steps"] == 4
