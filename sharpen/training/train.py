"""Fine-tuning: data set + negatives + base model -> model.

Runs in one process, or in each of the processes that torchrun started; the result does not depend on how many.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import torch

from sharpen.distributed import ProcessGroup
from sharpen.errors import InputError
from sharpen.losses import Loss
from sharpen.models.encoder import Encoder
from sharpen.models.identity import weights_hash
from sharpen.run_context import run_id
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.training import (
    arithmetic,
    checkpoints,
    export,
    lora,
    query_prompts,
    temperature_increase,
    time_limit,
    trackers,
)
from sharpen.training.arguments import argument_faults, training_arguments
from sharpen.training.checkpoints import Checkpoints
from sharpen.training.data.examples import Examples
from sharpen.training.data.sampler import BatchSampler
from sharpen.training.data.step_dataset import StepDataset
from sharpen.training.dev_score import METRIC
from sharpen.training.divergence import DivergenceError
from sharpen.training.encoder_setup import finish, restore, set_up, trained_weights
from sharpen.training.inputs import Inputs, read_inputs
from sharpen.training.loop import TrainingLoop
from sharpen.training.objective import identity_of, loss_of, memory_of, objective_of, steps_of
from sharpen.training.processes import process_group
from sharpen.training.settings import WRITE_FILES, TrainingSettings
from sharpen.training.temperature_increase import TemperatureIncrease
from sharpen.version import code_version

logger = logging.getLogger(__name__)

# Settings that change what is seen of a training, but not its result.
_WATCHING = {
    *("logging_steps", "save_steps", "save_total_limit", "checkpoint_folder", "checkpoint_address"),
    *("report_to", "logging_dir"),
}


def train(
    data: str,
    negatives: str | None,
    model: str,
    output: str,
    settings: TrainingSettings,
    encoder: EncoderSettings,
    *,
    loss: Loss | None = None,
) -> dict[str, Any]:
    """Train a model and write it as a finished folder.

    Args:
        data: address of a data set: ours, BEIR or FlagEmbedding rows.
        negatives: address of mined negatives; None: those that came with the data, else random passages.
        model: base model: folder, ``s3://`` address or hub id.
        output: address of the new model.
        settings: how to train.
        encoder: how texts become embeddings.
        loss: of the caller's own; None: the one of the settings.

    Returns:
        What was written to ``training.json``.

    Raises:
        InputError: settings, data, model or output cannot be used; nothing was started.
        Diverged: the loss or gradient became infinite or NaN.
    """
    with process_group() as exchange:
        settings = with_temperature_rule(settings, encoder)
        check_settings(settings)
        loss = loss or loss_of(settings)
        if exchange.rank == 0:
            storage.check_access(output, write=True)
            if settings.checkpoint_address not in ("", checkpoints.AUTO):
                storage.check_access(settings.checkpoint_address, write=True)
        arithmetic.agree(exchange)
        inputs = read_inputs(data, negatives, model, settings, encoder, exchange)
        exchange.broadcast_weights(inputs.encoder)
        batches = BatchSampler(inputs.examples, settings)
        facts = facts_before(data, negatives, model, inputs, batches, settings, encoder, exchange)
        facts["loss"] = identity_of(loss) or settings.loss_name
        kept = checkpoints_of(facts, settings, output)
        logs = trackers.log_folder(settings, output, kept.folder.name)
        if exchange.rank == 0:
            announce(inputs, batches, settings, exchange, logs)
        set_up(inputs.encoder, settings)
        facts |= trained(inputs.encoder, settings)
        started = time.monotonic()
        loop = run(inputs, batches, settings, kept, logs, exchange, loss)
        facts |= facts_after(loop, batches, time.monotonic() - started)
        finish(inputs.encoder, settings)
        query_prompts.save_with(inputs.encoder, inputs.examples)
        if exchange.rank == 0:
            write(output, inputs.encoder, facts)
            if logs is not None:
                trackers.keep_files(kept.folder, logs)
            kept.remove()
        exchange.wait()
    return facts


def with_temperature_rule(settings: TrainingSettings, encoder: EncoderSettings) -> TrainingSettings:
    """Embeddings that are not normalised have temperature 1; asking for another one is an error."""
    if encoder.normalize_embeddings:
        return settings
    if settings.on_divergence == "soften":
        raise InputError(
            "on_divergence: soften raises the temperature, which must stay 1 with normalize_embeddings false; use stop"
        )
    if settings.temperature == 1.0:
        return settings
    if "temperature" in settings.model_fields_set:
        raise InputError(
            f"temperature: {settings.temperature} with normalize_embeddings false makes scores of any size; "
            "set temperature to 1, or normalize_embeddings to true"
        )
    return settings.model_copy(update={"temperature": 1.0})


def check_settings(settings: TrainingSettings) -> None:
    """Raise InputError for what no bound of a single setting can say and no data are needed for."""
    if faults := [*argument_faults(settings), *trackers.faults(settings), *lora.faults(settings)]:
        raise InputError(faults)
    # transformers looks at the values.
    training_arguments(settings, Path(os.curdir), 1, evaluate=settings.eval_steps > 0)


def announce(
    inputs: Inputs, batches: BatchSampler, settings: TrainingSettings, exchange: ProcessGroup, logs: Path | None
) -> None:
    """Say what is about to happen, and what a user may not expect."""
    steps = steps_of(settings, batches.per_epoch)
    logger.info(
        f"fine-tuning: {len(inputs.examples):,} queries, {len(inputs.examples.texts):,} texts, {steps:,} steps of "
        f"{settings.train_batch_size} x {settings.train_group_size} on {exchange.size} process(es), "
        f"{inputs.encoder.device.type}, {torch.get_num_threads()} thread(s) each, {inputs.encoder.precision}, "
        f"{inputs.encoder.attention} attention"
    )
    counts = inputs.examples.counts
    left_out = ("queries_without_positive", "positives_without_teacher_score", "negatives_known_as_relevant")
    left_out += ("negatives_equal_to_their_query",)
    for name in left_out:
        if counts[name]:
            logger.warning(f"note: left out: {counts[name]:,} {name.replace('_', ' ')}")
    if inputs.dev and inputs.dev.note:
        logger.warning(f"note: {inputs.dev.note}")
    if logs is not None:
        names = ", ".join(name for name in settings.report_to if name in WRITE_FILES)
        logger.warning(f"note: logs of {names}: {logs} (another place: logging_dir)")
    for line in [*batches.warnings(), *query_prompts.warnings(inputs.encoder, inputs.examples)]:
        logger.warning(line)


def checkpoints_of(facts: dict[str, Any], settings: TrainingSettings, output: str) -> Checkpoints:
    """Where this run's checkpoints are: only a run with the same data, model, code and settings finds them."""
    identity = {name: facts[name] for name in ("data_fingerprint", "examples_hash", "base_weights", "encoder", "loss")}
    decisive = {name: value for name, value in facts["settings"].items() if name not in _WATCHING}
    given = decisive["training_arguments"].items()
    decisive["training_arguments"] = {name: value for name, value in given if not name.startswith("dataloader_")}
    identity |= {"settings": decisive, "code": facts["code_version"]}
    folder = checkpoints.folder_for(settings.checkpoint_folder, identity, output)
    address = checkpoints.address_for(settings.checkpoint_address, identity, output)
    return Checkpoints(folder, address, settings.save_total_limit)


def run(
    inputs: Inputs,
    batches: BatchSampler,
    settings: TrainingSettings,
    kept: Checkpoints,
    logs: Path | None,
    exchange: ProcessGroup,
    loss: Loss,
) -> TrainingLoop:
    """Train, from the newest complete checkpoint if there is one; the encoder is then the trained one, adapters apart.

    With ``on_divergence: soften`` a divergence goes back to that checkpoint, or the start, with a higher temperature.
    """
    steps = steps_of(settings, batches.per_epoch)
    fit: time_limit.Fit | None = None
    softens = settings.on_divergence == "soften"
    start = {name: w.cpu().clone() for name, w in trained_weights(inputs.encoder).items()} if softens else {}
    softenings: list[TemperatureIncrease] = []
    while True:
        newest = kept.restore(exchange)
        if newest is not None:
            softenings = softenings or temperature_increase.load(newest)
            fit = fit or time_limit.load(newest)
            arithmetic.restore(newest, inputs.encoder, exchange)
            if exchange.rank == 0:
                logger.info(f"fine-tuning: going on from {newest}")
        elif softenings:
            restore(inputs.encoder, start)
        inputs.encoder.zero_grad()
        fit = fit or fit_to_time(inputs, batches, settings, exchange, loss)
        steps = steps if fit is None else fit.steps
        dataset = StepDataset(batches, inputs.tokens, settings, exchange, steps, loss, inputs.guide)
        evaluate = inputs.dev is not None
        arguments = training_arguments(settings, kept.folder, steps, evaluate=evaluate, resumed=newest is not None)
        loop = TrainingLoop(inputs.encoder, dataset, settings, arguments, exchange, inputs.dev, kept, softenings, fit)
        if logs is not None:
            trackers.direct(loop.callbacks.callbacks, logs)
        try:
            loop.train(newest)
            break
        except DivergenceError as fault:
            # Every process diverges at the same step; the first must not be ended while it copies a checkpoint.
            kept.wait()
            exchange.wait()
            softenings = temperature_increase.softened(fault, settings, softenings)
            if exchange.rank == 0:
                logger.warning(f"training diverged at {softenings[-1].told()}; going back")
        finally:
            kept.wait()
    return loop


def fit_to_time(
    inputs: Inputs, batches: BatchSampler, settings: TrainingSettings, exchange: ProcessGroup, loss: Loss
) -> time_limit.Fit | None:
    """How many steps `max_train_minutes` allows, which is said; None: there is no such limit."""
    if settings.max_train_minutes is None:
        return None
    asked = steps_of(settings, batches.per_epoch)
    dataset = StepDataset(batches, inputs.tokens, settings, exchange, asked, loss, inputs.guide)
    first = [dataset[step] for step in time_limit.tried(asked)]
    objective = objective_of(settings, normalize=inputs.encoder.normalize, loss=loss)
    minutes, memory = settings.max_train_minutes, memory_of(settings)
    fit = time_limit.fitted(minutes, asked, inputs.encoder, first, objective, memory, exchange)
    if exchange.rank == 0:
        logger.info(f"fine-tuning: {fit.described()}")
    return fit


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
    """What is known before the first step."""
    return {
        "data": data,
        "data_fingerprint": inputs.data_fingerprint,
        "negatives": negatives,
        "negatives_hash": inputs.negatives_hash,
        "examples_hash": inputs.examples_hash,
        "base_model": model,
        "base_weights": weights_hash(inputs.encoder),
        "code_version": code_version(),
        "run": run_id(),
        "settings": settings.model_dump(mode="json"),
        "encoder": encoder.model_dump(mode="json"),
        "world_size": exchange.size,
        "device": str(inputs.encoder.device.type),
        "attention": inputs.encoder.attention,
        "counts": {**inputs.examples.counts, "steps_per_epoch": batches.per_epoch},
        "sources": sources_of(inputs.examples, batches),
        "warnings": [*batches.warnings(), *query_prompts.warnings(inputs.encoder, inputs.examples)],
        "dev_note": inputs.dev.note if inputs.dev else "",
    }


def sources_of(examples: Examples, batches: BatchSampler) -> dict[str, dict[str, int]]:
    """For each source, its queries, and how many of them, repeated ones included, an epoch has."""
    return {
        name: {"queries": len(rows), "queries_per_epoch": int(share)}
        for name, rows, share in zip(examples.sources, batches.source_rows, batches.source_shares, strict=True)
    }


def trained(encoder: Encoder, settings: TrainingSettings) -> dict[str, Any]:
    """What of the encoder is trained."""
    return {
        "towers": len(encoder.towers),
        "weights": sum(weights.numel() for weights in encoder.parameters()),
        "trained_weights": sum(weights.numel() for weights in trained_weights(encoder).values()),
        "adapters": lora.described(encoder) if settings.lora_rank else None,
    }


def facts_after(loop: TrainingLoop, batches: BatchSampler, seconds: float) -> dict[str, Any]:
    """What the training showed; the log has one entry every `logging_steps`, and one per dev evaluation."""
    steps = loop.state.global_step
    points = [point for point in loop.state.log_history if "loss" in point]
    dev = [(p["step"], p[f"eval_{METRIC}"]) for p in loop.state.log_history if f"eval_{METRIC}" in p]

    def mean(name: str) -> float | None:
        return sum(point[name] for point in points) / len(points) if points else None

    return {
        "steps": steps,
        "epochs": steps / batches.per_epoch,
        "negatives_per_query": mean("negatives_per_query"),
        "random_negatives_per_query": mean("random_negatives_per_query"),
        "first_loss": points[0]["loss"] if points else None,
        "last_loss": points[-1]["loss"] if points else None,
        "dev_ndcg_at_10_base": dev[0][1] if dev and dev[0][0] == 0 else None,
        METRIC: loop.state.best_metric,
        "best_step": loop.state.best_global_step,
        "softenings": temperature_increase.as_facts(loop.increases),
        "time_limit": time_limit.as_facts(loop.fit),
        "arithmetic": arithmetic.facts(loop.encoder),
        "seconds": seconds,
        "queries_per_second": loop.queries_seen / seconds,
        "log": loop.state.log_history,
    }


def write(output: str, encoder: Encoder, facts: dict[str, Any]) -> None:
    """Publish the model."""
    rows = {"queries": facts["counts"]["queries"], "steps": facts["steps"]}
    summary = {name: facts[name] for name in ("base_model", "data_fingerprint", "negatives_per_query", METRIC)}
    with storage.publish(output, producer="finetuning", run_id=facts["run"], rows=rows, facts=summary) as folder:
        export.write_model(folder, encoder, facts)
    logger.info(f"fine-tuning: model written to {output}")
