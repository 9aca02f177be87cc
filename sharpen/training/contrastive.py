"""The objective of fine-tuning: queries against their passages, with the exact gradient of the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sharpen.distributed import ProcessGroup
from sharpen.index.sizes import size_of
from sharpen.models.encoder import Encoder
from sharpen.training import temperature_increase, time_limit
from sharpen.training.data.collator import ShardedBatch
from sharpen.training.data.step_dataset import StepDataset
from sharpen.training.dev_score import DevSet
from sharpen.training.divergence import check_finite
from sharpen.training.gradient.step import Step, gradient_step
from sharpen.training.objective import memory_of, objective_of
from sharpen.training.processes import StopRequest
from sharpen.training.settings import TrainingSettings
from sharpen.training.step_result import StepResult
from sharpen.training.temperature_increase import TemperatureIncrease


class ContrastiveObjective:
    """A `loop.Objective`.

    Args:
        encoder: what is trained.
        dataset: the steps.
        settings: the loss and its memory.
        increases: how the temperature was raised so far.
        fit: what `max_train_minutes` allowed, or None.
    """

    def __init__(
        self,
        encoder: Encoder,
        dataset: StepDataset,
        settings: TrainingSettings,
        increases: Sequence[TemperatureIncrease] = (),
        fit: time_limit.Fit | None = None,
    ) -> None:
        self.encoder, self.dataset, self.increases, self.fit = encoder, dataset, increases, fit
        self.config = objective_of(settings, normalize=encoder.normalize, increases=increases, loss=dataset.loss)
        self.memory = memory_of(settings)
        self._size = size_of(settings.served_size)
        self._step: Step | None = None

    def gradient(self, batch: ShardedBatch, exchange: ProcessGroup, stop: StopRequest) -> StepResult:
        """`gradient_step` of a `batch`; `exchange` and `stop` as there."""
        self._step = step = gradient_step(self.encoder, batch, self.config, self.memory, exchange, stop)
        figures = {
            "negatives_per_query": step.negatives,
            "random_negatives_per_query": batch.batch.made_up / batch.total_rows,
        }
        return StepResult(step.loss, batch.total_rows, figures, step.stop)

    def check_finite(self, result: StepResult, gradient_norm: float, batch: ShardedBatch) -> None:
        """`divergence.check_finite` of the last `result` and its `gradient_norm`, with the texts of the `batch`."""
        assert self._step is not None
        check_finite(self._step, gradient_norm, batch, self.dataset.tokens.examples)

    def dev_ndcg_of(self, dev: DevSet, exchange: ProcessGroup) -> Callable[[], np.ndarray]:
        """What gives nDCG@10 of dev queries, with the memory of training, in the size that will be served."""
        return lambda: dev.ndcg(self.encoder, self.memory, exchange, self._size)

    def save(self, folder: Path) -> None:
        """Temperatures and time limit."""
        temperature_increase.save(folder, self.increases)
        time_limit.save(folder, self.fit)
