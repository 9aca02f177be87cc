"""The training loop, from the first step to the last.

transformers gives the schedule, the optimiser and the callbacks: trackers, early stopping, and `DefaultFlowCallback`,
which says after which steps to log, evaluate and save. The step is ours, exact on any number of processes.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any, NoReturn, Protocol, cast

import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset
from transformers import DefaultFlowCallback, TrainerCallback, TrainerState, TrainingArguments, set_seed
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.trainer_callback import CallbackHandler, TrainerControl
from transformers.trainer_utils import TrainerMemoryTracker, enable_full_determinism, speed_metrics

from sharpen.distributed import ProcessGroup, whole
from sharpen.errors import Interrupted
from sharpen.hardware.thread_pool import one_thread
from sharpen.models.encoder import Encoder
from sharpen.progress import Reporter, Silent, progress
from sharpen.training.checkpoints import loop_state
from sharpen.training.checkpoints.checkpoints import Checkpoints
from sharpen.training.checkpoints.loop_state import StepMetrics
from sharpen.training.dev_score import METRIC
from sharpen.training.model.encoder_setup import restore_on_all
from sharpen.training.optimization.loop_settings import LoopSettings
from sharpen.training.optimization.optimizer import make_optimizer, make_schedule
from sharpen.training.processes import StopRequest
from sharpen.training.step_result import StepResult
from sharpen.training.watching import trackers

logger = logging.getLogger(__name__)

# so long a store that does not answer is waited for by a process that was told to end; a pod has 60 s
INTERRUPTED_SECONDS = 40.0


class Objective(Protocol):
    """What a loop minimises. Its dataset gives batches that it understands, this process's part of each."""

    def gradient(self, batch: Any, exchange: ProcessGroup, stop: StopRequest) -> StepResult:
        """Leave the whole batch's gradient in every ``grad`` on all of `exchange`; `stop`: this process shall end."""
        ...

    def check_finite(self, result: StepResult, gradient_norm: float, batch: Any) -> None:
        """Raise `DivergenceError` where the `result` of a `batch`, or its `gradient_norm`, is not finite."""
        ...

    def save(self, folder: Path) -> None:
        """Write what is the objective's alone into a checkpoint."""
        ...


class Steps(Protocol):
    """The batches of a training, by the number of the step."""

    @property
    def per_epoch(self) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, step: int) -> Any: ...


class TrainingLoop:
    """Trains a model.

    Attributes:
        state: steps taken, log, best dev score, as transformers knows them.
        rows_seen: rows of batches trained on since the start or the checkpoint.

    Args:
        model: what is trained, on its device.
        encoder: the text encoder in it, or the model itself.
        objective: what is minimised.
        dataset: the steps.
        settings: of optimisation.
        arguments: made by `training_arguments`.
        exchange: the processes.
        checkpoints: the run's checkpoints.
        evaluate: gives nDCG@10 on dev, every `eval_steps`; None: there is no dev split.
        watchers, logs, title: further callbacks; folder of trackers or None; name of the progress.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        encoder: Encoder,
        objective: Objective,
        dataset: Steps,
        settings: LoopSettings,
        arguments: TrainingArguments,
        exchange: ProcessGroup,
        checkpoints: Checkpoints,
        *,
        evaluate: Callable[[], float] | None = None,
        watchers: Sequence[TrainerCallback] = (),
        logs: Path | None = None,
        title: str = "Training",
    ) -> None:
        self.model, self.encoder, self.objective = model, encoder, objective
        self.dataset, self.settings, self.arguments = dataset, settings, arguments
        self.exchange, self.checkpoints, self.evaluated, self.title = exchange, checkpoints, evaluate, title
        (enable_full_determinism if arguments.full_determinism else set_seed)(settings.seed)
        self.optimizer = make_optimizer(model, arguments)
        self.schedule = make_schedule(self.optimizer, arguments)
        callbacks: list[TrainerCallback] = [
            DefaultFlowCallback(),
            *(kind() for kind in get_reporting_integration_callbacks(arguments.report_to)),
            *watchers,
        ]
        if logs is not None:
            trackers.direct(callbacks, logs)
        self.callbacks = CallbackHandler(callbacks, model, None, self.optimizer, self.schedule)
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
        self.rows_seen = 0
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
                self.state.epoch = self.state.global_step / self.dataset.per_epoch
                reporter.advance(1, f"loss {metrics.loss:.4f}")
                self._call("on_step_end")
                is_last = self.state.global_step >= self.state.max_steps
                if self.control.should_log or is_last:
                    self.log_steps()
                if self.stopping and not is_last:
                    self.interrupt()
                if self.control.should_evaluate or (is_last and self.evaluated is not None):
                    self.evaluate()
                if self.control.should_save:
                    self.save_checkpoint()
                    self._call("on_save")
                if self.control.should_training_stop:
                    break
            self._call("on_epoch_end")
            steps = self.state.global_step - first
            summary = speed_metrics("train", started, num_samples=self.rows_seen, num_steps=steps)
            summary["train_loss"] = losses / max(1, steps)
            memory_tracker.stop_and_update_metrics(summary)
            self.log(summary)
            if self.arguments.load_best_model_at_end and self.state.best_model_checkpoint is not None:
                best = Path(self.state.best_model_checkpoint) / loop_state.WEIGHTS
                restore_on_all(self.model, load_file(best) if self.exchange.rank == 0 else None, self.exchange)
            self._call("on_train_end")

    def step(self, batch: Any) -> StepMetrics:
        """One optimiser step with the exact gradient of the global batch; `DivergenceError` before any weight moves."""
        # Dropout is drawn from (seed, step, process): a resumed run draws what the broken one would have drawn.
        torch.manual_seed((self.settings.seed * 1_000_003 + self.state.global_step) * 4_099 + self.exchange.rank)
        self.model.train()
        result = self.objective.gradient(batch, self.exchange, self.stop)
        self.stopping = result.stop
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients))
        self.objective.check_finite(result, norm.item(), batch)
        if self.arguments.max_grad_norm > 0:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.arguments.max_grad_norm, norm)
        rate = self.schedule.get_last_lr()[0]
        self._call("on_pre_optimizer_step")
        self.optimizer.step()
        self._call("on_optimizer_step")
        self.schedule.step()
        self.model.zero_grad()
        self.rows_seen += result.rows
        return StepMetrics(result.loss, norm.item(), float(rate), dict(result.figures))

    def log_steps(self) -> None:
        """Log the means since the last point, and the last step's rate and norm of the gradient."""
        last = self.unlogged[-1]
        self.log(
            {
                "loss": fmean(metrics.loss for metrics in self.unlogged),
                "grad_norm": last.gradient_norm,
                "learning_rate": last.learning_rate,
                **{name: fmean(metrics.figures[name] for metrics in self.unlogged) for name in last.figures},
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
        assert self.evaluated is not None
        score = self.evaluated()
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
        loop_state.save(self, folder, owes_evaluation)
        self.exchange.wait()
        if self.exchange.rank == 0:
            self.checkpoints.saved(self.state.global_step, self.state.best_global_step)

    def _call(self, event: str, *values: Any) -> None:
        """Tell the callbacks; what they want next is in `control`."""
        self.control = getattr(self.callbacks, event)(self.arguments, self.state, self.control, *values)

    def _batches(self, first: int) -> Iterator[Any]:
        """The steps from one on; every process makes its own part of each global batch, in workers of its own."""
        workers = self.arguments.dataloader_num_workers
        return iter(
            DataLoader(
                cast(Dataset, self.dataset),
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
        what = f"{self.title} from step {reached}" if reached else self.title
        return progress(what, self.state.max_steps - reached, "steps")


def _init_worker(worker: int) -> None:
    """One thread for a forked worker: the tokenizer's threads are those of the parent and are not there."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
