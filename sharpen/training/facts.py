"""What a training reports: at its start to the user, and at its end in ``training.json``."""

from __future__ import annotations

import logging
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sharpen.distributed import ProcessGroup
from sharpen.models.encoder import Encoder
from sharpen.models.identity import weights_hash
from sharpen.run_context import run_id
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.training import temperature_increase, time_limit
from sharpen.training.checkpoints import arithmetic
from sharpen.training.contrastive import ContrastiveObjective
from sharpen.training.data.examples import Examples
from sharpen.training.data.sampler import BatchSampler
from sharpen.training.dev_score import METRIC
from sharpen.training.inputs import Inputs
from sharpen.training.loop import TrainingLoop
from sharpen.training.model import lora, quantized, query_prompts
from sharpen.training.model.encoder_setup import trained_weights
from sharpen.training.objective import steps_of
from sharpen.training.optimization.loop_settings import WRITE_FILES
from sharpen.training.settings import TrainingSettings
from sharpen.version import code_version

logger = logging.getLogger(__name__)


def announce(
    inputs: Inputs, batches: BatchSampler, settings: TrainingSettings, exchange: ProcessGroup, logs: Path | None
) -> None:
    """The first process logs what is about to happen, and what a user may not expect; arguments as for `run`."""
    if exchange.rank != 0:
        return
    steps = steps_of(settings, batches.per_epoch)
    logger.info(
        f"fine-tuning: {len(inputs.examples):,} queries, {len(inputs.examples.texts):,} texts, {steps:,} steps of "
        f"{settings.train_batch_size} x {settings.train_group_size} at a rate of {settings.learning_rate:g} on "
        f"{exchange.size} process(es), "
        f"{inputs.encoder.device.type}, {torch.get_num_threads()} thread(s) each, {inputs.encoder.precision}, "
        f"{inputs.encoder.attention} attention{', weights in shards' if inputs.encoder.sharded else ''}"
    )
    counts = inputs.examples.counts
    left_out = ("queries_without_positive", "positives_without_teacher_score", "negatives_known_as_relevant")
    left_out += ("negatives_equal_to_their_query", "texts_with_a_label_of_their_own", "queries_without_negatives")
    for name in left_out:
        if counts.get(name):
            logger.warning(f"note: left out: {counts[name]:,} {name.replace('_', ' ')}")
    if note := _dev_note(inputs, settings):
        logger.warning(f"note: {note}")
    if logs is not None:
        names = ", ".join(name for name in settings.report_to if name in WRITE_FILES)
        logger.warning(f"note: logs of {names}: {logs} (elsewhere: logging_dir)")
    if settings.fsdp and not inputs.encoder.sharded:
        logger.warning("note: fsdp: a single process holds all weights; start several to have them in shards")
    for line in [*batches.warnings(), *query_prompts.warnings(inputs.encoder, inputs.examples)]:
        logger.warning(line)


def facts_before(
    data: str,
    negatives: str | None,
    model: str,
    inputs: Inputs,
    batches: BatchSampler,
    settings: TrainingSettings,
    encoder: EncoderSettings,
    exchange: ProcessGroup,
) -> dict[str, Any]:
    """What is known before the first step; arguments as for `train` and `attempts.run`."""
    return {
        "data": data,
        "data_facts": data_facts(data),
        "data_fingerprint": inputs.data_fingerprint,
        "negatives": negatives,
        "negatives_hash": inputs.negatives_hash,
        "examples_hash": inputs.examples_hash,
        "base_model": model,
        "base_weights": weights_hash(inputs.encoder),
        "code_version": code_version(),
        "versions": versions(),
        "run": run_id(),
        "settings": settings.model_dump(mode="json"),
        "encoder": encoder.model_dump(mode="json"),
        "world_size": exchange.size,
        "device": str(inputs.encoder.device.type),
        "attention": inputs.encoder.attention,
        "counts": {**inputs.examples.counts, "steps_per_epoch": batches.per_epoch},
        "sources": sources_of(inputs.examples, batches),
        "tasks": tasks_of(inputs.examples),
        "warnings": [*batches.warnings(), *query_prompts.warnings(inputs.encoder, inputs.examples)],
        "dev_note": _dev_note(inputs, settings),
    }


def _dev_note(inputs: Inputs, settings: TrainingSettings) -> str:
    """What a user must know of the dev scores; empty: nothing."""
    if inputs.dev is None:
        return ""
    size = f"dev scores are those of passages stored as {settings.served_size}" if settings.served_size else ""
    return "; ".join(filter(None, [inputs.dev.note, size]))


def data_facts(data: str) -> dict[str, Any]:
    """What a prepared data set says of its sources, for the model card: licences, addresses, languages.

    Returns:
        ``licence``, ``sources`` (``address``, ``role``, ``licence`` and ``queries`` of each) and ``languages`` (code ->
        queries); empty for the user's own files, which say nothing.
    """
    stats_file = storage.join(data, "stats.json")
    if not (storage.is_complete(data) and storage.exists(stats_file)):
        return {}
    stats = storage.read_json(stats_file)
    shown = ("address", "role", "licence", "queries")
    sources = [{key: one.get(key, "") for key in shown} for one in stats.get("inputs", [])]
    return {
        "licence": (stats.get("settings") or {}).get("licence", ""),
        "sources": sources,
        "languages": stats.get("languages") or {},
    }


def versions() -> dict[str, str]:
    """Versions of what computes the training."""
    names = ("torch", "transformers", "accelerate", "numpy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def sources_of(examples: Examples, batches: BatchSampler) -> dict[str, dict[str, int]]:
    """For each source, its queries, and how many of them, repeated ones included, an epoch has."""
    return {
        name: {"queries": len(rows), "queries_per_epoch": int(share)}
        for name, rows, share in zip(examples.sources, batches.source_rows, batches.source_shares, strict=True)
    }


def tasks_of(examples: Examples) -> list[dict[str, Any]]:
    """What is learned from: task type, source (empty: all), what of it is learned, and the queries or pairs."""
    rows = np.bincount(examples.task, minlength=len(examples.tasks)).tolist()
    return [
        {"task_type": task.task_type, "source": task.source, "learns": task.learns, "rows": count}
        for task, count in zip(examples.tasks, rows, strict=True)
    ]


def trained(encoder: Encoder, settings: TrainingSettings) -> dict[str, Any]:
    """What of the encoder is trained."""
    return {
        "towers": len(encoder.towers),
        "weights": sum(map(quantized.weight_count, encoder.parameters())),
        "trained_weights": sum(weights.numel() for weights in trained_weights(encoder).values()),
        "adapters": lora.described(encoder) if settings.lora_rank else None,
    }


def facts_of_loop(loop: TrainingLoop, seconds: float) -> dict[str, Any]:
    """What any training of `seconds` showed; logged are each `logging_steps` steps and evaluations."""
    points = [point for point in loop.state.log_history if "loss" in point]
    return {
        "steps": loop.state.global_step,
        "epochs": loop.state.global_step / loop.dataset.per_epoch,
        "first_loss": points[0]["loss"] if points else None,
        "last_loss": points[-1]["loss"] if points else None,
        "arithmetic": arithmetic.facts(loop.encoder),
        "seconds": seconds,
        "log": loop.state.log_history,
    }


def facts_after(loop: TrainingLoop, objective: ContrastiveObjective, seconds: float) -> dict[str, Any]:
    """What a fine-tuning (`loop`, `objective`) of `seconds` showed."""
    points = [point for point in loop.state.log_history if "loss" in point]
    dev = [(p["step"], p[f"eval_{METRIC}"]) for p in loop.state.log_history if f"eval_{METRIC}" in p]

    def mean(name: str) -> float | None:
        return sum(point[name] for point in points) / len(points) if points else None

    return {
        **facts_of_loop(loop, seconds),
        "negatives_per_query": mean("negatives_per_query"),
        "random_negatives_per_query": mean("random_negatives_per_query"),
        "dev_ndcg_at_10_base": dev[0][1] if dev and dev[0][0] == 0 else None,
        METRIC: loop.state.best_metric,
        "best_step": loop.state.best_global_step,
        "temperature_increases": temperature_increase.as_facts(objective.increases),
        "time_limit": time_limit.as_facts(objective.fit),
        "queries_per_second": loop.rows_seen / seconds,
    }
