"""The learning rate of every step, against transformers' own schedules."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_scheduler

from sharpen.training.optimization.arguments import training_arguments
from sharpen.training.optimization.optimizer import rise_from_first_step
from sharpen.training.settings import TrainingSettings

STEPS = 20


def rates(schedule: LambdaLR) -> list[float]:
    found = []
    for _ in range(STEPS):
        found.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return found


def new(kind: str, warmup: int) -> LambdaLR:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    return get_scheduler(kind, optimizer, num_warmup_steps=warmup, num_training_steps=STEPS)


@pytest.mark.parametrize(
    "kind", ["linear", "cosine", "cosine_with_restarts", "polynomial", "constant_with_warmup", "inverse_sqrt"]
)
@pytest.mark.parametrize("warmup", [0, 1, 4])
def test_after_the_warm_up_as_in_transformers_and_before_above_0(kind: str, warmup: int) -> None:
    theirs, ours = rates(new(kind, warmup)), rates(rise_from_first_step(new(kind, warmup), warmup))
    assert ours[warmup:] == theirs[warmup:]
    assert ours[:warmup] == pytest.approx([0.5 * (step + 1) / (warmup + 1) for step in range(warmup)])
    assert ours[0] > 0


def test_a_resumed_schedule_goes_on() -> None:
    whole = rates(rise_from_first_step(new("linear", 4), 4))
    first = rise_from_first_step(new("linear", 4), 4)
    for _ in range(2):
        first.optimizer.step()
        first.step()
    second = rise_from_first_step(new("linear", 4), 4)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert rates(second)[:-2] == whole[2:]


def test_constant_obeys_the_warm_up(tmp_path) -> None:  # type: ignore[no-untyped-def]
    def kind(**values: object) -> str:
        settings = TrainingSettings.checked({"lr_scheduler_type": "constant", **values})
        return training_arguments(settings, tmp_path, 10).lr_scheduler_type

    assert kind() == "constant_with_warmup"
    assert kind(warmup_steps=0) == "constant"
