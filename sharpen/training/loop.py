"""The training loop, from the first step to the last.

transformers gives the schedule, the optimiser and the callbacks: trackers, early stopping, and `DefaultFlowCallback`,
which says after which steps to log, evaluate and save. The step is ours, exact on any number of processes.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any, NoReturn

import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import DefaultFlowCallback, EarlyStoppingCallback, TrainerState, TrainingArguments, set_seed
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.trainer_callback import CallbackHandler, TrainerControl
from transformers.trainer_utils import TrainerMemoryTracker, enable_full_determinism, speed_metrics

from sharpen.distributed import ProcessGroup
from sharpen.errors import Interrupted
from sharpen.hardware.thread_pool import one_thread
from sharpen.models.encoder import Encoder
from sharpen.progress import Reporter, Silent, progress
from sharpen.training import time_limit
from sharpen.training.checkpoints import loop_state
from sharpen.training.checkpoints.checkpoints import Checkpoints
from sharpen.training.checkpoints.loop_state import StepMetrics
from sharpen.training.data.collator import ShardedBatch
from sharpen.training.data.step_dataset import StepDataset
from sharpen.training.dev_score import METRIC, DevSet
from sharpen.training.divergence import check_finite
from sharpen.training.gradient.step import gradient_step
from sharpen.training.model.encoder_setup import restore
from sharpen.training.objective import memory_of, objective_of
from sharpen.training.optimizer import make_optimizer, make_schedule
from sharpen.training.processes import StopRequest
from sharpen.training.settings import TrainingSettings
from sharpen.training.temperature_increase import TemperatureIncrease

logger = logging.getLogger(__name__)

# so long a store that does not answer is waited for by a process that was told to end; a pod has 60 s
INTERRUPTED_SECONDS = 40.0


class TrainingLoop:
    """Trains an encoder.

    Attributes:
        state: steps taken, log, best dev score, as transformers knows them.
        queries_seen: queries trained on since the start or the checkpoint.

    Args:
        encoder: the model, on its device.
        dataset: the steps.
        settings: everything else.
        arguments: made by `training_arguments`.
        exchange: the processes.
        dev: evaluated every `eval_steps`, or None.
        checkpoints: the run's checkpoints.
        increases: how the temperature was raised so far.
        fit: what `max_train_minutes` allowed, or None.
    """

    def __init__(
        self,
        encoder: Encoder,
        dataset: StepDataset,
        settings: TrainingSettings,
        arguments: TrainingArguments,
        exchange: ProcessGroup,
        dev: DevSet | None,
        checkpoints: Checkpoints,
        increases: Sequence[TemperatureIncrease] = (),
        fit: time_limit.Fit | None = None,
    ) -> None:
        self.encoder, self.dataset, self.settings, self.arguments = encoder, dataset, settings, arguments
        self.exchange, self.dev, self.checkpoints = exchange, dev, checkpoints
        self.increases, self.fit = increases, fit
        self.objective = objective_of(settings, normalize=encoder.normalize, increases=increases, loss=dataset.loss)
        self.memory = memory_of(settings)
        (enable_full_determinism if arguments.full_determinism else set_seed)(settings.seed)
        self.optimizer = make_optimizer(encoder, arguments)
        self.schedule = make_schedule(self.optimizer, arguments)
        callbacks = [
            DefaultFlowCallback(),
            *(kind() for kind in get_reporting_integration_callbacks(arguments.report_to)),
        ]
        if settings.early_stopping_patience:
            callbacks.append(EarlyStoppingCallback(settings.early_stopping_patience))
        self.callbacks = CallbackHandler(callbacks, encoder, None, self.optimizer, self.schedule)
        self.control = TrainerControl()
        self.state = TrainerState(
            max_steps=arguments.max_steps,
            num_train_epochs=1,
            epoch=0.0,
            is_local_process_zero=int(os.environ.get("LOCAL_RANK", "0")) == 0,
            is_world_process_zero=exchange.rank == 0,
        )
        self.state.compute_steps(arguments, arguments.max_steps)
        self.unlogged: list[StepMetrics] = []
        self.queries_seen = 0
        self.stop, self.stopping = StopRequest(), False

    def train(self, checkpoint: Path | None = None) -> None:
        """Train to the end; afterwards the encoder has the best weights by the dev split, or the last ones.

        Args:
            checkpoint: to go on from, or None.

        Raises:
            DivergenceError: a loss or gradient is not finite.
            Interrupted: SIGTERM came to one of the processes; a checkpoint of the last step is written and copied.
        """
        # by the name of this method it knows that a training is measured
        memory_tracker = TrainerMemoryTracker(self.arguments.skip_memory_metrics)
        memory_tracker.init_reported = True
        memory_tracker.start()
        owes_evaluation = checkpoint is not None and loop_state.load(self, checkpoint)
        first, losses, started = self.state.global_step, 0.0, time.time()
        stoppable = self.stop.by_sigterm(self.arguments.save_strategy != "no")
        with one_thread(self.encoder.device), stoppable, self._progress() as reporter:
            self._call("on_train_begin")
            if self.arguments.eval_on_start or owes_evaluation:
                # what training starts from may be the best one
                self.evaluate()
                self.save_checkpoint()
            self._call("on_epoch_begin")
            for batch in () if self.control.should_training_stop else self._batches(first):
                self._call("on_step_begin")
                metrics = self.step(batch)
                losses += metrics.loss
                self.unlogged.append(metrics)
                self.state.global_step += 1
                self.state.epoch = self.state.global_step / self.dataset.batches.per_epoch
                reporter.advance(1, f"loss {metrics.loss:.4f}")
                self._call("on_step_end")
                is_last = self.state.global_step >= self.state.max_steps
                if self.control.should_log or is_last:
                    self.log_steps()
                if self.stopping and not is_last:
                    self.interrupt()
                if self.control.should_evaluate or (is_last and self.dev is not None):
                    self.evaluate()
                if self.control.should_save:
                    self.save_checkpoint()
                    self._call("on_save")
                if self.control.should_training_stop:
                    break
            self._call("on_epoch_end")
            steps = self.state.global_step - first
            summary = speed_metrics("train", started, num_samples=self.queries_seen, num_steps=steps)
            summary["train_loss"] = losses / max(1, steps)
            memory_tracker.stop_and_update_metrics(summary)
            self.log(summary)
            if self.arguments.load_best_model_at_end and self.state.best_model_checkpoint is not None:
                restore(self.encoder, load_file(Path(self.state.best_model_checkpoint) / loop_state.WEIGHTS))
            self._call("on_train_end")

    def step(self, batch: ShardedBatch) -> StepMetrics:
        """One optimiser step with the exact gradient of the global batch; `DivergenceError` before any weight moves."""
        # Dropout is drawn from (seed, step, process): a resumed run draws what the broken one would have drawn.
        torch.manual_seed((self.settings.seed * 1_000_003 + batch.batch.step) * 4_099 + self.exchange.rank)
        self.encoder.train()
        result = gradient_step(self.encoder, batch, self.objective, self.memory, self.exchange, self.stop)
        self.stopping = result.stop
        parameters = [parameter for parameter in self.encoder.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        check_finite(result, norm.item(), batch, self.dataset.tokens.examples)
        if self.arguments.max_grad_norm > 0:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.arguments.max_grad_norm, norm)
        rate = self.schedule.get_last_lr()[0]
        self._call("on_pre_optimizer_step")
        self.optimizer.step()
        self._call("on_optimizer_step")
        self.schedule.step()
        self.encoder.zero_grad()
        self.queries_seen += batch.total_rows
        return StepMetrics(
            result.loss, norm.item(), result.negatives, batch.batch.made_up / batch.total_rows, float(rate)
        )

    def log_steps(self) -> None:
        """Log the means since the last point, and the last step's rate and norm of the gradient."""
        last = self.unlogged[-1]
        self.log(
            {
                "loss": fmean(metrics.loss for metrics in self.unlogged),
                "grad_norm": last.gradient_norm,
                "learning_rate": last.learning_rate,
                "negatives_per_query": fmean(metrics.negatives for metrics in self.unlogged),
                "random_negatives_per_query": fmean(metrics.random for metrics in self.unlogged),
            }
        )
        self.unlogged.clear()

    def log(self, values: dict[str, float]) -> None:
        """Add a point to the log, and give it to the trackers."""
        values = {**values, "epoch": self.state.epoch or 0.0}
        self.state.log_history.append({**values, "step": self.state.global_step})
        self._call("on_log", values)

    def evaluate(self) -> None:
        """nDCG@10 on the dev split, logged; the best one so far is noted."""
        assert self.dev is not None
        score = self.dev.score(self.encoder, self.memory, self.exchange)
        metrics = {f"eval_{METRIC}": score}
        self.log(metrics)
        self._call("on_evaluate", metrics)
        if self.exchange.rank == 0:
            logger.info("dev nDCG@10 after %d steps: %.4f", self.state.global_step, score)
        if score > (float("-inf") if self.state.best_metric is None else self.state.best_metric):
            self.state.best_metric, self.state.best_global_step = score, self.state.global_step

    def interrupt(self) -> NoReturn:
        """Leave a checkpoint of the present step, whose evaluation the next start makes up for."""
        self.save_checkpoint(owes_evaluation=self.control.should_evaluate)
        self.checkpoints.wait(INTERRUPTED_SECONDS)
        step = self.state.global_step
        # nobody ends before the copy is made: torchrun ends the others when one has gone
        written = self.exchange.broadcast_object(self.checkpoints.described(step))
        raise Interrupted(
            f"training was told to end (SIGTERM) after step {step:,} of {self.state.max_steps:,}; its checkpoint is "
            f"written ({written}), and the next start goes on from it"
        )

    def save_checkpoint(self, owes_evaluation: bool = False) -> None:
        """Write all that a run needs to go on to the bit; the next start makes up for an evaluation that is owed."""
        folder = self.checkpoints.path(self.state.global_step)
        if self.state.best_global_step is not None:
            self.state.best_model_checkpoint = os.fspath(self.checkpoints.path(self.state.best_global_step))
        if self.exchange.rank == 0:
            loop_state.save(self, folder, owes_evaluation)
        self.exchange.wait()
        if self.exchange.rank == 0:
            self.checkpoints.saved(self.state.global_step, self.state.best_global_step)

    def _call(self, event: str, *values: Any) -> None:
        """Tell the callbacks; what they want next is in `control`."""
        self.control = getattr(self.callbacks, event)(self.arguments, self.state, self.control, *values)

    def _batches(self, first: int) -> Iterator[ShardedBatch]:
        """The steps from one on; every process makes its own part of each global batch, in workers of its own."""
        workers = self.arguments.dataloader_num_workers
        return iter(
            DataLoader(
                self.dataset,
                batch_size=None,
                sampler=range(first, len(self.dataset)),
                num_workers=workers,
                persistent_workers=self.arguments.dataloader_persistent_workers,
                prefetch_factor=self.arguments.dataloader_prefetch_factor,
                # Forked, a worker has the mapped files and the tokenizer at once; it never touches the device.
                multiprocessing_context="fork" if workers else None,
                worker_init_fn=_init_worker,
            )
        )

    def _progress(self) -> AbstractContextManager[Reporter]:
        if self.exchange.rank != 0:
            return nullcontext(Silent())
        reached = self.state.global_step
        what = f"Training from step {reached}" if reached else "Training"
        return progress(what, self.state.max_steps - reached, "steps")


def _init_worker(worker: int) -> None:
    """One thread for a forked worker: the tokenizer's threads are those of the parent and are not there."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
