"""Every field of transformers' `TrainingArguments` is passed on with effect, or refused in a line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainingArguments

from sharpen.errors import InputError
from sharpen.store import storage
from sharpen.training.optimization import arguments
from sharpen.training.optimization.arguments import training_arguments
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import check_settings, train
from tests.sharpen.training.small_data import ENCODER, small_data


def fields() -> dict[str, Any]:
    """Name -> default; accumulated steps become a part of the batch size."""
    found = {field.name: field.default for field in dataclasses.fields(TrainingArguments)}
    found.pop("gradient_accumulation_steps")
    return found


def refused(name: str, value: Any, **settings: Any) -> str:
    """The line that refuses a field; empty: it is passed on."""
    found = arguments.argument_faults(TrainingSettings(training_arguments={name: value}, **settings))
    return found[0] if found else ""


def test_every_other_field_is_refused_in_a_line() -> None:
    assert arguments.ALLOWED.keys() <= fields().keys()
    passed = {name for name in fields() if not refused(name, None, eval_steps=1, report_to=["trackio"])}
    assert passed == arguments.ALLOWED.keys()
    for name in fields().keys() - passed:
        line = refused(name, None)
        assert line.startswith(f"training_arguments.{name}: ") and "\n" not in line
    for name, needed in arguments.ALLOWED.items():
        assert not needed or "no effect without" in refused(name, None)
    assert refused("project", "x", report_to=["tensorboard"]).endswith("without trackio in report_to")
    assert refused("adam_beta3", 1).endswith("did you mean adam_beta1?") or "adam_beta2?" in refused("adam_beta3", 1)


def test_no_field_is_both_passed_on_and_set_by_us() -> None:
    """Otherwise Python refuses it as given twice."""
    given = {name: default for name, default in fields().items() if name in arguments.ALLOWED}
    given |= {"dataloader_num_workers": 1, "full_determinism": False}
    chosen = TrainingSettings(training_arguments=given, eval_steps=1)
    made = training_arguments(chosen, Path("somewhere"), 3, eval_steps=chosen.eval_steps)
    assert made.dataloader_num_workers == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"adam_beta3": 1}, "no such field"),
        ({"learning_rate": 1}, "setting of its own"),
        ({"bf16": True}, "use encoder.precision"),
        ({"label_smoothing_factor": 0.1}, "no effect on this training loop; those that have: lr_scheduler_kwargs"),
        ({"neftune_noise_alpha": 5}, "no effect"),
        ({"disable_tqdm": False}, "no effect"),
        ({"use_cpu": True}, "which hides the GPUs"),
        ({"log_level": "info"}, "no effect"),
        ({"logging_first_step": False}, "no effect"),
        ({"deepspeed": "x.json"}, "no effect"),
        ({"dataloader_drop_last": True}, "no effect"),
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
