"""Our settings as transformers' `TrainingArguments`."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from transformers import TrainingArguments

from sharpen.errors import InputError
from sharpen.training.dev_score import METRIC
from sharpen.training.settings import TrainingSettings


def training_arguments(
    settings: TrainingSettings, folder: Path, steps: int, *, evaluate: bool, resumed: bool = False
) -> TrainingArguments:
    """transformers' arguments for these settings.

    Raises:
        InputError: transformers refuses a value of `training_arguments`.
    """
    save_steps = settings.eval_steps if evaluate else settings.save_steps
    try:
        arguments = TrainingArguments(
            output_dir=os.fspath(folder),
            max_steps=steps,
            per_device_train_batch_size=1,
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            lr_scheduler_type=_scheduler(settings),
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            seed=settings.seed,
            logging_steps=settings.logging_steps,
            logging_first_step=True,
            logging_nan_inf_filter=False,
            save_strategy="steps" if save_steps else "no",
            save_steps=save_steps or 1,
            # The Trainer would delete older checkpoints before the new one is marked; `Checkpoints` does it after.
            save_total_limit=None,
            eval_strategy="steps" if evaluate else "no",
            eval_steps=settings.eval_steps if evaluate else None,
            # What a broken run had evaluated counts once, for early stopping too.
            eval_on_start=evaluate and not resumed,
            restore_callback_states_from_checkpoint=settings.early_stopping_patience > 0,
            load_best_model_at_end=evaluate,
            metric_for_best_model=METRIC if evaluate else None,
            greater_is_better=True if evaluate else None,
            report_to=settings.report_to or "none",
            disable_tqdm=True,
            log_level="error",
            remove_unused_columns=False,
            use_cpu=not torch.cuda.is_available(),
            **{"dataloader_num_workers": workers(), **settings.training_arguments},
        )
    except (TypeError, ValueError, ImportError) as error:
        raise InputError(f"training_arguments: transformers refuses them: {str(error).splitlines()[0]}") from None
    # Of several GPUs that it sees a process uses one; more than one is DataParallel to the Trainer.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _scheduler(settings: TrainingSettings) -> str:
    # transformers' constant knows no warm-up and would ignore the setting
    constant = settings.lr_scheduler_type == "constant" and settings.warmup_steps > 0
    return "constant_with_warmup" if constant else settings.lr_scheduler_type


def workers() -> int:
    """How many workers of a process lay out the next steps, when `dataloader_num_workers` is not set.

    Two beside a GPU, if there are cores for them; none on a CPU, where they would take cores from the model.
    """
    if not torch.cuda.is_available():
        return 0
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(0, min(2, cores - 1))
