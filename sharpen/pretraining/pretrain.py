"""Pre-training: a corpus + a base model -> a model that knows the corpus's language, for fine-tuning to start from.

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
from sharpen.models.architecture import read_architecture
from sharpen.models.identity import weights_hash
from sharpen.models.model_hub import resolve_model
from sharpen.pretraining import model_card
from sharpen.pretraining.batches import Vocabulary, WindowSteps
from sharpen.pretraining.inputs import Inputs, read_inputs
from sharpen.pretraining.objective import MaskedTokenObjective
from sharpen.pretraining.settings import PretrainingSettings
from sharpen.run_context import run_id
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.training.checkpoints import arithmetic
from sharpen.training.checkpoints.checkpoints import Checkpoints
from sharpen.training.checkpoints.run_checkpoints import check_address, checkpoints_for
from sharpen.training.facts import facts_of_loop, versions
from sharpen.training.loop import TrainingLoop
from sharpen.training.model.encoder_setup import checkpoint_activations, set_dropout
from sharpen.training.objective import steps_of
from sharpen.training.optimization.arguments import argument_faults, training_arguments
from sharpen.training.processes import process_group
from sharpen.training.watching import trackers
from sharpen.version import code_version

logger = logging.getLogger(__name__)


def pretrain(
    data: str, model: str, output: str, settings: PretrainingSettings, encoder: EncoderSettings
) -> dict[str, Any]:
    """Pre-train a model on the passages of a corpus and write it as a finished folder.

    Args:
        data: address of a data set, whose corpus is taken, or of passages alone.
        model: base model: folder, ``s3://`` address or hub id.
        output: address of the new model.
        settings: how to train.
        encoder: how texts become embeddings.

    Returns:
        What was written to ``pretraining.json``.

    Raises:
        InputError: settings, data, model or output cannot be used; nothing was started.
        DivergenceError: the loss or gradient became infinite or NaN.
    """
    with process_group() as exchange:
        check_settings(settings)
        if exchange.rank == 0:
            storage.check_access(output, write=True)
            check_address(settings)
        arithmetic.agree(exchange)
        inputs = read_inputs(data, model, settings, encoder, exchange)
        exchange.broadcast_weights(inputs.model)
        steps = window_steps(inputs, settings, exchange)
        facts = facts_before(data, model, inputs, settings, encoder, exchange)
        identity = {name: facts[name] for name in ("corpus_fingerprint", "base_weights", "encoder", "settings")}
        checkpoints = checkpoints_for(identity, settings, output, "pretraining", __name__)
        if exchange.rank == 0:
            announce(inputs, facts, steps)
        started = time.monotonic()
        logs = trackers.log_folder(settings, output, checkpoints.folder.name)
        loop = run(inputs, steps, settings, checkpoints, logs, exchange)
        facts |= facts_of_loop(loop, time.monotonic() - started)
        facts["windows_per_second"] = loop.rows_seen / facts["seconds"]
        inputs.model.eval()
        if exchange.rank == 0:
            write(output, inputs, facts)
            checkpoints.remove()
        exchange.wait()
    return facts


def check_settings(settings: PretrainingSettings) -> None:
    """Raise InputError for what no bound of a single setting can say and no data are needed for."""
    if faults := [*argument_faults(settings), *trackers.faults(settings)]:
        raise InputError(faults)
    training_arguments(settings, Path(os.curdir), 1)


def window_steps(inputs: Inputs, settings: PretrainingSettings, exchange: ProcessGroup) -> WindowSteps:
    """All steps of the training; `inputs`, `settings` and `exchange` as for `run`."""
    encoder = inputs.model.encoder
    tokenizer, size = encoder.tokenizer, inputs.model.vocabulary_size
    special = set(tokenizer.all_special_ids)
    ordinary = [number for number in sorted(tokenizer.get_vocab().values()) if number not in special and number < size]
    vocabulary = Vocabulary(tokenizer.mask_token_id, tokenizer.pad_token_id, torch.tensor(ordinary).numpy())
    steps = WindowSteps(inputs.windows, vocabulary, settings, exchange, encoder.device)
    steps.steps = steps_of(settings, steps.per_epoch)
    return steps


def run(
    inputs: Inputs,
    steps: WindowSteps,
    settings: PretrainingSettings,
    checkpoints: Checkpoints,
    logs: Path | None,
    exchange: ProcessGroup,
) -> TrainingLoop:
    """Train, from the newest complete checkpoint if there is one.

    Args:
        inputs, steps, settings: what is trained, on what, how.
        checkpoints: where to go on from.
        logs: folder of trackers; None: they write none.
        exchange: the processes.
    """
    model, encoder = inputs.model, inputs.model.encoder
    if settings.dropout is not None:
        set_dropout(model, settings.dropout)
    if settings.gradient_checkpointing:
        checkpoint_activations(encoder)
    newest = checkpoints.restore(exchange)
    if newest is not None:
        arithmetic.restore(newest, encoder, exchange)
        if exchange.rank == 0:
            logger.info(f"pre-training: going on from {newest}")
    arguments = training_arguments(settings, checkpoints.folder, len(steps), resumed=newest is not None)
    objective = MaskedTokenObjective(model)
    loop = TrainingLoop(
        *(model, encoder, objective, steps, settings, arguments, exchange, checkpoints), logs=logs, title="Pre-training"
    )
    try:
        loop.train(newest)
    finally:
        checkpoints.wait()
    if logs is not None and exchange.rank == 0:
        trackers.keep_files(checkpoints.folder, logs)
    return loop


def facts_before(
    data: str,
    model: str,
    inputs: Inputs,
    settings: PretrainingSettings,
    encoder: EncoderSettings,
    exchange: ProcessGroup,
) -> dict[str, Any]:
    """What is known before the first step; arguments as for `pretrain`, and what was read."""
    trained, counts = inputs.model.encoder, vars(inputs.windows.counts)
    warnings = []
    if inputs.model.head.is_new:
        warnings.append(f"{model} comes without the head of its masked language model; a new one is trained beside it")
    pooling_before = _pooling_before(model)
    if pooling_before not in (None, trained.pooling):
        warnings.append(
            f"{model} embeds by {pooling_before} pooling and is trained for {trained.pooling}: what it knows of search "
            "may be lost; compare with a run without pre-training"
        )
    if counts["empty_passages"]:
        warnings.append(f"{counts['empty_passages']:,} passages without a token are left out")
    return {
        "data": data,
        "corpus_fingerprint": inputs.corpus_fingerprint,
        "base_model": model,
        "base_weights": weights_hash(trained),
        "code_version": code_version(),
        "versions": versions(),
        "run": run_id(),
        "settings": settings.model_dump(mode="json"),
        "encoder": encoder.model_dump(mode="json"),
        "pooling": trained.pooling,
        "world_size": exchange.size,
        "device": str(trained.device.type),
        "weights": sum(weights.numel() for weights in trained.parameters()),
        "counts": counts,
        "warnings": warnings,
    }


def _pooling_before(model: str) -> str | None:
    """How a base `model` pools by itself; None: it does not say."""
    try:
        return read_architecture(resolve_model(model), "auto").pooling
    except InputError:
        # the model has been loaded, so nothing but its own pooling, which is not used, can be unknown
        return "another"


def announce(inputs: Inputs, facts: dict[str, Any], steps: WindowSteps) -> None:
    """Log what is about to happen, and what a user may not expect, of `inputs`, `facts` and `steps`."""
    counts, encoder, settings = inputs.windows.counts, inputs.model.encoder, facts["settings"]
    logger.info(
        f"pre-training ({settings['method']}): {counts.passages:,} passages, {counts.cut_passages:,} of them cut, "
        f"{counts.windows:,} windows of at most {counts.window_length} tokens, {counts.tokens:,} tokens, "
        f"{len(steps):,} steps of {settings['train_batch_size']} on {facts['world_size']} process(es), "
        f"{encoder.device.type}, {torch.get_num_threads()} thread(s) each, {encoder.precision}, {encoder.attention} "
        "attention"
    )
    for line in facts["warnings"]:
        logger.warning(f"note: {line}")


def write(output: str, inputs: Inputs, facts: dict[str, Any]) -> None:
    """Publish the encoder of the `inputs` and its `facts` at `output`."""
    rows = {"windows": facts["counts"]["windows"], "steps": facts["steps"]}
    summary = {name: facts[name] for name in ("base_model", "corpus_fingerprint", "first_loss", "last_loss")}
    with storage.publish(output, producer="pretraining", run_id=facts["run"], rows=rows, facts=summary) as folder:
        inputs.model.encoder.save(folder)
        model_card.write(folder, facts)
    logger.info(f"pre-training: model written to {output}; next: python -m components.finetuning --model {output} ...")
