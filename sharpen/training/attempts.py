"""Training from the newest checkpoint to the end, and again with a higher temperature after a divergence."""

from __future__ import annotations

import logging
from pathlib import Path

from sharpen.distributed import ProcessGroup
from sharpen.losses import Loss
from sharpen.training import temperature_increase, time_limit
from sharpen.training.checkpoints import arithmetic
from sharpen.training.checkpoints.checkpoints import Checkpoints
from sharpen.training.contrastive import ContrastiveObjective
from sharpen.training.data.sampler import BatchSampler
from sharpen.training.data.step_dataset import StepDataset
from sharpen.training.divergence import DivergenceError
from sharpen.training.inputs import Inputs
from sharpen.training.loop import TrainingLoop
from sharpen.training.model.encoder_setup import restore, trained_weights
from sharpen.training.objective import memory_of, objective_of, steps_of
from sharpen.training.optimization.arguments import training_arguments
from sharpen.training.settings import TrainingSettings
from sharpen.training.temperature_increase import TemperatureIncrease
from sharpen.training.watching import dev_watch
from sharpen.training.watching.dev_watch import DevWatch

logger = logging.getLogger(__name__)


def run(
    inputs: Inputs,
    batches: BatchSampler,
    settings: TrainingSettings,
    checkpoints: Checkpoints,
    logs: Path | None,
    exchange: ProcessGroup,
    loss: Loss,
    watch: DevWatch | None = None,
) -> tuple[TrainingLoop, ContrastiveObjective]:
    """Train, from the newest complete checkpoint if there is one; the encoder is then trained, adapters not yet merged.

    With ``on_divergence: soften`` a divergence goes back to that checkpoint, or the start, with a higher temperature.

    Args:
        inputs, batches, settings, loss: what is trained, on what, how.
        checkpoints, logs: where to go on from; folder of trackers, or None: they write none.
        exchange, watch: the processes; what sees the dev scores.
    """
    steps = steps_of(settings, batches.per_epoch)
    fit: time_limit.Fit | None = None
    softens = settings.on_divergence == "soften"
    start = {name: w.cpu().clone() for name, w in trained_weights(inputs.encoder).items()} if softens else {}
    increases: list[TemperatureIncrease] = []
    while True:
        newest = checkpoints.restore(exchange)
        if newest is not None:
            increases = increases or temperature_increase.load(newest)
            fit = fit or time_limit.load(newest)
            arithmetic.restore(newest, inputs.encoder, exchange)
            if exchange.rank == 0:
                logger.info(f"fine-tuning: going on from {newest}")
        elif increases:
            restore(inputs.encoder, start)
        inputs.encoder.zero_grad()
        fit = fit or fit_to_time(inputs, batches, settings, exchange, loss)
        steps = steps if fit is None else fit.steps
        dataset = StepDataset(batches, inputs.tokens, settings, exchange, steps, loss, inputs.guide)
        every, resumed = settings.eval_steps if inputs.dev is not None else 0, newest is not None
        arguments = training_arguments(settings, checkpoints.folder, steps, eval_steps=every, resumed=resumed)
        objective = ContrastiveObjective(inputs.encoder, dataset, settings, increases, fit)
        loop = TrainingLoop(
            *(inputs.encoder, inputs.encoder, objective, dataset, settings, arguments, exchange, checkpoints),
            evaluate=dev_watch.evaluation(inputs.dev, objective, exchange, None if resumed else watch),
            watchers=dev_watch.callbacks(settings, exchange, watch),
            logs=logs,
        )
        try:
            loop.train(newest)
            break
        except DivergenceError as fault:
            # Every process diverges at the same step; the first must not be ended while it copies a checkpoint.
            checkpoints.wait()
            exchange.wait()
            increases = temperature_increase.next_increases(fault, settings, increases)
            if exchange.rank == 0:
                logger.warning(f"training diverged at {increases[-1].describe()}; going back")
        finally:
            checkpoints.wait()
    return loop, objective


def fit_to_time(
    inputs: Inputs, batches: BatchSampler, settings: TrainingSettings, exchange: ProcessGroup, loss: Loss
) -> time_limit.Fit | None:
    """How many steps `max_train_minutes` allows; None: there is no such limit. Arguments as for `run`."""
    if settings.max_train_minutes is None:
        return None
    requested = steps_of(settings, batches.per_epoch)
    dataset = StepDataset(batches, inputs.tokens, settings, exchange, requested, loss, inputs.guide)
    first = [dataset[step] for step in time_limit.tried(requested)]
    objective = objective_of(settings, normalize=inputs.encoder.normalize, loss=loss)
    minutes, memory = settings.max_train_minutes, memory_of(settings)
    fit = time_limit.fitted(minutes, requested, inputs.encoder, first, objective, memory, exchange)
    if exchange.rank == 0:
        logger.info(f"fine-tuning: {fit.described()}")
    return fit
