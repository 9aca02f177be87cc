"""What of transformers' `TrainingArguments` a user may set in `training_arguments`: every field, with the reason.

A field is passed on only where it has an effect here. The step is our own, so most of what transformers does with a
batch, a model or a dev split has none; such a field is refused, since nothing that a user asks for is ignored.
"""

from __future__ import annotations

import dataclasses

from transformers import TrainingArguments

from sharpen.training.settings import TrainingSettings

PASSED_ON = frozenset(
    {
        *("lr_scheduler_kwargs", "optim", "optim_args", "optim_target_modules"),
        *("adam_beta1", "adam_beta2", "adam_epsilon"),
        *("tf32", "full_determinism", "skip_memory_metrics"),
        *("dataloader_num_workers", "dataloader_persistent_workers", "dataloader_prefetch_factor"),
    }
)
# Passed on, but without effect unless this holds.
_NEEDS_DEV = frozenset({"eval_delay"})
_NEEDS_TRACKER = frozenset({"run_name"})
_NEEDS_TRACKIO = frozenset({"project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"})

# What our own settings decide, and the one to use instead.
_DECIDED = {
    "per_device_train_batch_size": "train_batch_size",
    "auto_find_batch_size": "activation_gib",
    "per_device_eval_batch_size": "micro_batch_tokens",
    "bf16": "encoder.precision",
    "fp16": "encoder.precision",
    "bf16_full_eval": "encoder.precision",
    "fp16_full_eval": "encoder.precision",
    "activation_checkpointing": "gradient_checkpointing",
    "activation_checkpointing_kwargs": "gradient_checkpointing",
    "gradient_checkpointing_kwargs": "gradient_checkpointing",
    "data_seed": "seed",
    "do_eval": "eval_steps",
    "eval_strategy": "eval_steps",
    "eval_on_start": "eval_steps",
    "load_best_model_at_end": "eval_steps",
    "metric_for_best_model": "eval_steps (the metric is nDCG@10)",
    "greater_is_better": "eval_steps (the metric is nDCG@10)",
    "restore_callback_states_from_checkpoint": "early_stopping_patience",
    "save_strategy": "save_steps",
    "logging_strategy": "logging_steps",
    "output_dir": "--output",
    "resume_from_checkpoint": "checkpoint_folder (a broken run goes on by itself)",
    "ignore_data_skip": "checkpoint_folder (a broken run goes on by itself)",
    "train_sampling_strategy": "same_dataset_within_batch or source_temperature",
}

_BATCHES = "batches are made by this trainer, the same on any number of processes"
_DDP = "the gradient is summed by this trainer, exactly, without DDP"
_DEV = "dev evaluation is this trainer's own search"
_HUB = "models are published by the promotion step"
_LOGGED = "the terminal and the log are this trainer's own"
_LOSS = "the loss is this trainer's own"
_SHARDED = "every process holds the whole model"
_WEIGHTS_ALONE = "only the encoder's own forward pass is trained"
# What is not possible here, and why.
_REFUSED = {
    "label_smoothing_factor": _LOSS,
    "average_tokens_across_devices": _LOSS,
    "label_names": _LOSS,
    "neftune_noise_alpha": _WEIGHTS_ALONE,
    "torch_compile": _WEIGHTS_ALONE,
    "torch_compile_backend": _WEIGHTS_ALONE,
    "torch_compile_mode": _WEIGHTS_ALONE,
    "use_liger_kernel": _WEIGHTS_ALONE,
    "liger_kernel_config": _WEIGHTS_ALONE,
    "use_cache": "an encoder keeps no cache of keys and values",
    "torch_empty_cache_steps": "memory is bounded by activation_gib",
    "logging_first_step": "the first step is always logged",
    "logging_nan_inf_filter": "a loss that is not finite stops the training; see on_divergence",
    "debug": "a number that is not finite stops the training, with the texts to look at; see on_divergence",
    "include_num_input_tokens_seen": _LOGGED,
    "log_on_each_node": _LOGGED,
    "log_level": _LOGGED,
    "log_level_replica": _LOGGED,
    "disable_tqdm": _LOGGED,
    "prediction_loss_only": _DEV,
    "eval_do_concat_batches": _DEV,
    "eval_use_gather_object": _DEV,
    "eval_accumulation_steps": _DEV,
    "include_for_metrics": _DEV,
    "batch_eval_metrics": _DEV,
    "save_only_model": "a broken run could not go on without the optimiser",
    "save_on_each_node": "the first process writes the checkpoints; checkpoint_address brings them to other machines",
    "enable_jit_checkpoint": "a run that is told to end goes on from its last checkpoint; lower save_steps",
    "push_to_hub": _HUB,
    "hub_token": _HUB,
    "hub_private_repo": _HUB,
    "hub_model_id": _HUB,
    "hub_strategy": _HUB,
    "hub_always_push": _HUB,
    "hub_revision": _HUB,
    "use_cpu": "a GPU is used where there is one; CUDA_VISIBLE_DEVICES= hides it",
    "accelerator_config": _BATCHES,
    "dataloader_drop_last": "the last, smaller batch is trained",
    "dataloader_pin_memory": _BATCHES,
    "dataloader_multiprocessing_context": "workers are forked, so that they have the mapped files at once",
    "dataloader_in_order": _BATCHES,
    "remove_unused_columns": _BATCHES,
    "length_column_name": _BATCHES,
    "parallelism_config": _SHARDED,
    "fsdp": _SHARDED,
    "fsdp_config": _SHARDED,
    "deepspeed": _SHARDED,
    "ddp_find_unused_parameters": _DDP,
    "ddp_bucket_cap_mb": _DDP,
    "ddp_broadcast_buffers": _DDP,
    "ddp_static_graph": _DDP,
    "ddp_backend": "nccl on GPUs, gloo on CPUs",
    "ddp_timeout": _DDP,
    "do_train": "this step always trains",
    "do_predict": "predicting is another step's",
    "local_rank": "torchrun numbers the processes",
}


def faults_of(settings: TrainingSettings) -> list[str]:
    """One line for each field of `training_arguments` that cannot be set; needs no process group and no model."""
    fields = {field.name for field in dataclasses.fields(TrainingArguments)}
    faults = []
    for name in settings.training_arguments:
        if name in TrainingSettings.model_fields:
            fault = f"is a setting of its own; set {name} directly"
        elif reason := reason_against(name):
            fault = reason
        elif name not in fields:
            fault = "transformers' TrainingArguments has no such field"
        else:
            fault = _unmet(name, settings)
        if fault:
            faults.append(f"training_arguments.{name}: {fault}")
    return faults


def reason_against(name: str) -> str:
    """Why a field of transformers' cannot be set, and what to use instead; empty: it may be, or is none."""
    if name in _DECIDED:
        return f"cannot be set here; use {_DECIDED[name]}"
    return f"is not supported: {_REFUSED[name]}" if name in _REFUSED else ""


def _unmet(name: str, settings: TrainingSettings) -> str:
    """Why a field of this version of transformers has no effect with these settings; empty: it has one."""
    if name in PASSED_ON:
        return ""
    if name in _NEEDS_DEV:
        return "" if settings.eval_steps else "has no effect without eval_steps"
    if name in _NEEDS_TRACKER:
        return "" if settings.report_to else "has no effect without report_to"
    if name in _NEEDS_TRACKIO:
        return "" if "trackio" in settings.report_to else "has no effect without trackio in report_to"
    return "is not known to this trainer, which passes on only what has an effect"
