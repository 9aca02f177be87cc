"""Watching the dev scores of a training from outside of it, which may end it early."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from transformers import EarlyStoppingCallback, TrainerCallback

from sharpen.distributed import ProcessGroup
from sharpen.training.contrastive import ContrastiveObjective
from sharpen.training.dev_score import METRIC, DevSet
from sharpen.training.settings import TrainingSettings


class DevWatch:
    """What is called with every dev score of a training, those of a broken run that it goes on from among them.

    Args:
        report: takes the step, the steps of the whole training and nDCG@10 on dev; true: end now. The first process
            calls it.
        base_score: of the untrained model, where it is known, so that it is not measured again.
        values: takes nDCG@10 of each dev query before `report` takes their mean; not of scores that are only known.

    Attributes:
        stopped: whether it ended the training, whose model is then not written.
    """

    def __init__(
        self,
        report: Callable[[int, int, float], bool],
        base_score: float | None = None,
        values: Callable[[np.ndarray], None] = lambda values: None,
    ) -> None:
        self.report, self.base_score, self.values, self.stopped = report, base_score, values, False


def callbacks(settings: TrainingSettings, exchange: ProcessGroup, watch: DevWatch | None) -> list[TrainerCallback]:
    """What looks at the dev scores of a training.

    Args:
        settings: of the training.
        exchange: its processes.
        watch: the caller's.
    """
    found: list[TrainerCallback] = []
    if settings.early_stopping_patience:
        found.append(EarlyStoppingCallback(settings.early_stopping_patience))
    if watch is not None:
        found.append(_Watcher(watch, exchange))
    return found


def evaluation(
    dev: DevSet | None, objective: ContrastiveObjective, exchange: ProcessGroup, watch: DevWatch | None
) -> Callable[[], float] | None:
    """What gives nDCG@10 on dev; its first call the base model's, where that is known. None: there is no dev split.

    Args:
        dev: the dev split.
        objective: whose encoder is measured.
        exchange: the processes.
        watch: knows the base model's score, perhaps; None in a training that goes on from a checkpoint.
    """
    if dev is None:
        return None
    measure = objective.dev_ndcg_of(dev, exchange)
    known = iter([] if watch is None or watch.base_score is None else [watch.base_score])

    def score() -> float:
        first = next(known, None)
        if first is not None:
            return first
        values = measure()
        if watch is not None and exchange.rank == 0:
            watch.values(values)
        return float(values.mean())

    return score


class _Watcher(TrainerCallback):
    def __init__(self, watch: DevWatch, exchange: ProcessGroup) -> None:
        self._watch, self._exchange = watch, exchange

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for point in state.log_history:
            if f"eval_{METRIC}" in point:
                self._tell(point["step"], point[f"eval_{METRIC}"], state, control)

    def on_evaluate(self, args: Any, state: Any, control: Any, **values: Any) -> None:
        self._tell(state.global_step, values["metrics"][f"eval_{METRIC}"], state, control)

    def _tell(self, step: int, score: float, state: Any, control: Any) -> None:
        here = self._watch.report(step, state.max_steps, score) if self._exchange.rank == 0 else False
        if self._exchange.broadcast_object(here):
            self._watch.stopped = control.should_training_stop = True
