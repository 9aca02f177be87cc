"""Our settings as transformers' `TrainingArguments`, and which other fields of it a user may set.

A field of `training_arguments` is passed on only where it has an effect here; any other is refused, since nothing that
a user asks for is ignored.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from pathlib import Path

import torch
from transformers import TrainingArguments

from sharpen.errors import InputError
from sharpen.processes.cores import machine_cores
from sharpen.training.dev_score import METRIC
from sharpen.training.optimization.loop_settings import LoopSettings

# Fields that have an effect, and the setting without which they have none.
ALLOWED = {
    **dict.fromkeys(("lr_scheduler_kwargs", "optim", "optim_args", "optim_target_modules"), ""),
    **dict.fromkeys(
        ("adam_beta1", "adam_beta2", "adam_epsilon", "tf32", "full_determinism", "skip_memory_metrics"), ""
    ),
    **dict.fromkeys(("dataloader_num_workers", "dataloader_persistent_workers", "dataloader_prefetch_factor"), ""),
    "eval_delay": "eval_steps",
    "run_name": "report_to",
    **dict.fromkeys(("project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"), "report_to"),
}
# Fields that another setting decides.
_USE_INSTEAD = {
    "per_device_train_batch_size": "train_batch_size",
    **dict.fromkeys(("bf16", "fp16", "bf16_full_eval", "fp16_full_eval"), "encoder.precision"),
    **dict.fromkeys(("gradient_checkpointing_kwargs", "activation_checkpointing"), "gradient_checkpointing"),
    **dict.fromkeys(("eval_strategy", "do_eval", "load_best_model_at_end", "metric_for_best_model"), "eval_steps"),
    "auto_find_batch_size": "activation_gib",
    "per_device_eval_batch_size": "micro_batch_tokens",
    "data_seed": "seed",
    "save_strategy": "save_steps",
    "logging_strategy": "logging_steps",
    "output_dir": "--output",
    "resume_from_checkpoint": "checkpoint_folder (a broken run goes on by itself)",
    "use_cpu": "CUDA_VISIBLE_DEVICES= (empty), which hides the GPUs",
}


def reason_against(name: str) -> str:
    """Why a field of transformers' cannot be set, and what to use instead; empty: it may be."""
    if name in _USE_INSTEAD:
        return f"cannot be set here; use {_USE_INSTEAD[name]}"
    return "" if name in ALLOWED else f"has no effect on this training loop; those that have: {', '.join(ALLOWED)}"


def argument_faults(settings: LoopSettings) -> list[str]:
    """One line for each field of `training_arguments` that cannot be set; needs no process group and no model."""
    known = {field.name for field in dataclasses.fields(TrainingArguments)}
    faults = []
    for name in settings.training_arguments:
        if name in type(settings).model_fields:
            fault = f"is a setting of its own; set {name} directly"
        elif name not in known:
            near = difflib.get_close_matches(name, ALLOWED, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            fault = f"transformers' TrainingArguments has no such field{hint}"
        elif reason := reason_against(name):
            fault = reason
        elif (needed := ALLOWED[name]) and not getattr(settings, needed, None):
            fault = f"has no effect without {needed}"
        elif name.startswith(("project", "trackio")) and "trackio" not in settings.report_to:
            fault = "has no effect without trackio in report_to"
        else:
            continue
        faults.append(f"training_arguments.{name}: {fault}")
    return faults


def training_arguments(
    settings: LoopSettings, folder: Path, steps: int, *, eval_steps: float = 0, resumed: bool = False
) -> TrainingArguments:
    """transformers' arguments for these settings.

    Args:
        settings: of the training.
        folder: where trackers write.
        steps: of the whole training.
        eval_steps: steps between two evaluations on dev, each followed by a checkpoint; below 1: share of all steps;
            0: there is none.
        resumed: whether it goes on from a checkpoint.

    Raises:
        InputError: transformers refuses a value of `training_arguments`.
    """
    interval = math.ceil(eval_steps * steps) if eval_steps < 1 else int(eval_steps)
    evaluate, save_steps = interval > 0, interval or settings.save_steps
    try:
        return TrainingArguments(
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
            save_strategy="steps" if save_steps else "no",
            save_steps=save_steps or 1,
            eval_strategy="steps" if evaluate else "no",
            eval_steps=interval or None,
            # What a broken run had evaluated counts once, for early stopping too.
            eval_on_start=evaluate and not resumed,
            load_best_model_at_end=evaluate,
            metric_for_best_model=METRIC if evaluate else None,
            greater_is_better=True if evaluate else None,
            report_to=settings.report_to or "none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            **{"dataloader_num_workers": workers(), **settings.training_arguments},
        )
    except (TypeError, ValueError, ImportError) as error:
        raise InputError(f"training_arguments: transformers refuses them: {str(error).splitlines()[0]}") from None


def _scheduler(settings: LoopSettings) -> str:
    # transformers' constant knows no warm-up and would ignore the setting
    constant = settings.lr_scheduler_type == "constant" and settings.warmup_steps > 0
    return "constant_with_warmup" if constant else settings.lr_scheduler_type


def workers() -> int:
    """How many workers of a process lay out the next steps, when `dataloader_num_workers` is not set.

    Two with a GPU, if there are cores for them; none on a CPU, where they would take cores from the model.
    """
    if not torch.cuda.is_available():
        return 0
    cores = machine_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(0, min(2, cores - 1))
