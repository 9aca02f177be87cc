"""The training loop: transformers' `Trainer` around our own step.

What the Trainer does: optimiser, schedule, clipping, logging, trackers, checkpoints, early stopping. What it must not
do here: wrap the model for distributed training or cut batches, since the step is exact on any number of processes.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from sharpen.distributed import ProcessGroup
from sharpen.hardware.thread_pool import one_thread
from sharpen.losses import Loss
from sharpen.models.encoder import Encoder
from sharpen.progress import progress
from sharpen.training import arithmetic, temperature_increase, time_limit
from sharpen.training.checkpoints import Checkpoints
from sharpen.training.data.collator import ShardedBatch, shard_batch
from sharpen.training.data.guide import GuideEmbeddings
from sharpen.training.data.sampler import BatchSampler
from sharpen.training.data.tokens import Tokens
from sharpen.training.dev_score import METRIC, DevSet
from sharpen.training.divergence import check_finite
from sharpen.training.encoder_setup import restore, trained_weights
from sharpen.training.objective import memory_of, objective_of
from sharpen.training.schedule import rise_from_first_step
from sharpen.training.settings import TrainingSettings
from sharpen.training.step import gradient_step
from sharpen.training.temperature_increase import TemperatureIncrease
from sharpen.training.training_state import load_state, save_state

logger = logging.getLogger(__name__)

# The name by which transformers knows that a checkpoint has weights.
WEIGHTS = "model.safetensors"


class StepDataset(Dataset):
    """Step number -> this process's part of that step."""

    def __init__(
        self,
        batches: BatchSampler,
        tokens: Tokens,
        settings: TrainingSettings,
        exchange: ProcessGroup,
        steps: int,
        loss: Loss,
        guide: GuideEmbeddings | None = None,
    ):
        self.batches, self.tokens, self.settings = batches, tokens, settings
        self.rank, self.size, self.steps = exchange.rank, exchange.size, steps
        self.loss, self.guide = loss, guide

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, ShardedBatch]:
        if step >= self.steps:
            raise IndexError(step)
        batch, share = self.batches.batch(step), (self.rank, self.size)
        options = {"whole_batch": self.loss.whole_batch, "guide": self.guide}
        return {"layout": shard_batch(batch, self.tokens, self.settings, *share, **options)}


@dataclasses.dataclass(frozen=True)
class StepMetrics:
    """One step: loss, negatives per query, and how many of those were made up from the corpus."""

    loss: float
    negatives: float
    random: float


class RetrievalTrainer(Trainer):
    """Trains an `Encoder` with `gradient_step`.

    Args:
        encoder: the model, on its device.
        work: the steps.
        settings: everything else.
        arguments: made by `training_arguments`.
        exchange: the processes.
        dev: evaluated every `eval_steps`, or None.
        kept: the run's checkpoints.
        softenings: how the temperature was raised so far.
    """

    def __init__(
        self,
        encoder: Encoder,
        work: StepDataset,
        settings: TrainingSettings,
        arguments: TrainingArguments,
        exchange: ProcessGroup,
        dev: DevSet | None,
        kept: Checkpoints,
        softenings: Sequence[TemperatureIncrease] = (),
    ) -> None:
        self.encoder, self.settings, self.exchange, self.dev = encoder, settings, exchange, dev
        self.kept, self.softenings = kept, softenings
        self.objective = objective_of(settings, normalize=encoder.normalize, softenings=softenings, loss=work.loss)
        self.memory = memory_of(settings)
        self.recent: list[StepMetrics] = []
        self.fit: time_limit.Fit | None = None
        self.queries_seen = 0
        callbacks: list[TrainerCallback] = [_Pace(self)]
        if settings.early_stopping_patience:
            callbacks.append(EarlyStoppingCallback(early_stopping_patience=settings.early_stopping_patience))
        super().__init__(
            model=encoder,
            args=arguments,
            train_dataset=work,
            eval_dataset=dev,  # type: ignore[arg-type]
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)

    @property
    def work(self) -> StepDataset:
        """The steps."""
        assert isinstance(self.train_dataset, StepDataset)
        return self.train_dataset

    def create_accelerator_and_postprocess(self) -> None:
        """Keep accelerate from wrapping the model: DDP would average gradients that are already the global ones."""
        super().create_accelerator_and_postprocess()
        self.accelerator.prepare_model = lambda model, *_, **__: model

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """transformers' schedule, whose first step learns something too."""
        schedule: Any = super().create_scheduler(num_training_steps, optimizer)
        return rise_from_first_step(schedule, self.args.get_warmup_steps(num_training_steps))

    def get_train_dataloader(self) -> DataLoader:
        """The steps in order. Every process makes its own part of each global batch, workers of its own ahead of it."""
        workers = self.args.dataloader_num_workers
        return DataLoader(
            self.work,
            batch_size=1,
            collate_fn=_only,
            num_workers=workers,
            persistent_workers=self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
            # Forked, a worker has the mapped files and the tokenizer at once; it never touches the device.
            multiprocessing_context="fork" if workers else None,
            worker_init_fn=_alone,
        )

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train with progress shown on the first process."""
        with ExitStack() as stack:
            self.stack = stack
            stack.enter_context(one_thread(self.encoder.device))
            return super().train(*args, **kwargs)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """The exact gradient of the global batch in every ``grad``; the loss. Raises `Diverged` if not finite."""
        layout: ShardedBatch = inputs["layout"]
        # Dropout is drawn from (seed, step, process): a resumed run draws what the broken one would have drawn.
        torch.manual_seed((self.settings.seed * 1_000_003 + layout.batch.step) * 4_099 + self.exchange.rank)
        model.train()
        step = gradient_step(model, layout, self.objective, self.memory, self.exchange)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients).item()
        check_finite(step, norm, layout, self.work.tokens.examples)
        self.recent.append(StepMetrics(step.loss, step.negatives, layout.batch.made_up / layout.total_rows))
        self.queries_seen += layout.total_rows
        return torch.tensor(step.loss, device=self.args.device)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the negatives per query, and how many of them were random passages, since the last point."""
        if "loss" in logs and self.recent:
            logs["negatives_per_query"] = sum(seen.negatives for seen in self.recent) / len(self.recent)
            logs["random_negatives_per_query"] = sum(seen.random for seen in self.recent) / len(self.recent)
            self.recent.clear()
        super().log(logs, start_time)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """nDCG@10 on the dev split."""
        assert self.dev is not None
        score = self.dev.score(self.encoder, self.memory, self.exchange)
        metrics = {f"eval_{METRIC}": score}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        if self.exchange.rank == 0:
            logger.info(f"dev nDCG@10 after {self.state.global_step} steps: {score:.4f}")
        return metrics

    def _evaluate(self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False) -> dict[str, float]:
        """Let the model that training starts from be the best one: it is evaluated, and saved as step 0."""
        metrics = super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler)
        if self.state.global_step == 0:
            self._determine_best_metric(metrics, trial)
            self._save_checkpoint(self.model, trial)
        return metrics

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """The weights that are trained, and nothing else: the Trainer's own would add pickled arguments."""
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir or "")
            folder.mkdir(parents=True, exist_ok=True)
            weights = {name: tensor.contiguous() for name, tensor in trained_weights(self.encoder).items()}
            save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        restore(self.encoder, load_file(Path(resume_from_checkpoint) / WEIGHTS))

    def _load_best_model(self) -> None:
        restore(self.encoder, load_file(Path(self.state.best_model_checkpoint or "") / WEIGHTS))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.args.should_save:
            save_state(Path(output_dir), self.optimizer, self.lr_scheduler)
            temperature_increase.save(Path(output_dir), self.softenings)
            arithmetic.save(Path(output_dir), self.encoder)
            time_limit.save(Path(output_dir), self.fit)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_state(Path(checkpoint), self.optimizer, self.lr_scheduler)

    def _save_rng_state(self, output_dir: str) -> None:
        """Nothing: every step and every batch has a seed of its own."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing, as nothing was saved."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.state.best_global_step is not None:
            # the Trainer takes a best step of 0 for none
            self.state.best_model_checkpoint = os.fspath(self.kept.path(self.state.best_global_step))
        super()._save_checkpoint(model, trial)
        self.exchange.wait()
        if self.args.should_save:
            self.kept.saved(self.state.global_step, self.state.best_global_step)


class _Pace(TrainerCallback):
    """Progress on the first process, the true epoch, and a point and a dev evaluation after the last step."""

    def __init__(self, trainer: RetrievalTrainer) -> None:
        self.trainer = trainer
        self.reporter: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.trainer.exchange.rank == 0:
            what = f"Training from step {state.global_step}" if state.global_step else "Training"
            left = state.max_steps - state.global_step
            self.reporter = self.trainer.stack.enter_context(progress(what, left, "steps"))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # The Trainer sees all steps as one epoch, so that it need not know where our epochs end.
        state.epoch = state.global_step / self.trainer.work.batches.per_epoch
        if self.reporter is not None:
            self.reporter.advance(1, f"loss {self.trainer.recent[-1].loss:.4f}")
        if state.global_step >= state.max_steps:
            control.should_log = True
            control.should_evaluate = self.trainer.dev is not None


def _alone(worker: int) -> None:
    """One thread for a forked worker: the tokenizer's threads are those of the parent and are not there."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _only(items: list[dict[str, ShardedBatch]]) -> dict[str, ShardedBatch]:
    return items[0]
