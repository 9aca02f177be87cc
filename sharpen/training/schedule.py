"""The learning rate from the first step to the last: transformers' schedules, with a warm-up that begins above 0."""

from __future__ import annotations

from collections.abc import Callable

from torch.optim.lr_scheduler import LambdaLR

Factor = Callable[[int], float]
"""Steps taken so far -> factor of the highest learning rate."""


def rise_from_first_step(schedule: LambdaLR, warmup_steps: int) -> LambdaLR:
    """Let step i of a warm-up of w steps (from 0) have (i + 1) / (w + 1) of what the schedule begins with after it.

    transformers' own warm-up gives the first step i / w = 0: a batch is computed and nothing is learned from it. After
    the warm-up the rates stay as they are.

    Args:
        schedule: a new one, of which no step was taken; it is changed in place.
        warmup_steps: steps of rising rate, w.

    Returns:
        The schedule.
    """
    if warmup_steps > 0:
        schedule.lr_lambdas = [_rising(factor, warmup_steps) for factor in schedule.lr_lambdas]
        # the optimiser has the rate of the old first step; a schedule sets it by its initial step
        schedule.last_epoch = -1
        schedule._initial_step()
    return schedule


def _rising(factor: Factor, warmup_steps: int) -> Factor:
    def rising(step: int) -> float:
        return factor(step) if step >= warmup_steps else (step + 1) / (warmup_steps + 1) * factor(warmup_steps)

    return rising
