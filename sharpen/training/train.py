"""Fine-tuning: data set + negatives + base model -> model.

Runs in one process, or in each of the processes that torchrun started; the result does not depend on how many.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

from sharpen.distributed import ProcessGroup
from sharpen.errors import InputError
from sharpen.losses import Loss
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.training.attempts import run
from sharpen.training.checkpoints import arithmetic
from sharpen.training.checkpoints.averaging import average
from sharpen.training.checkpoints.checkpoints import Checkpoints
from sharpen.training.checkpoints.run_checkpoints import check_address, checkpoints_for
from sharpen.training.data.sampler import BatchSampler
from sharpen.training.dev_score import METRIC
from sharpen.training.facts import announce, facts_after, facts_before, trained
from sharpen.training.inputs import Inputs, read_inputs
from sharpen.training.model import export, lora, quantized, query_prompts, sharding
from sharpen.training.model.encoder_setup import finish, set_up
from sharpen.training.model_card.cost import CostSettings
from sharpen.training.objective import identity_of, loss_of
from sharpen.training.optimization.arguments import argument_faults, training_arguments
from sharpen.training.processes import process_group
from sharpen.training.settings import TrainingSettings
from sharpen.training.watching import trackers
from sharpen.training.watching.dev_scores import dev_score_file
from sharpen.training.watching.dev_watch import DevWatch

logger = logging.getLogger(__name__)


def train(
    data: str,
    negatives: str | None,
    model: str,
    output: str,
    settings: TrainingSettings,
    encoder: EncoderSettings,
    *,
    loss: Loss | None = None,
    watch: DevWatch | None = None,
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
        watch: sees the dev scores and may end the training, which then writes no model.

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
        check_addresses(output, settings, exchange)
        arithmetic.agree(exchange)
        inputs = read_inputs(data, negatives, model, settings, encoder, exchange)
        exchange.broadcast_weights(inputs.encoder)
        settings, batches = inputs.settings, BatchSampler(inputs.examples, inputs.settings)
        facts = facts_before(data, negatives, model, inputs, batches, settings, encoder, exchange)
        facts["loss"] = identity_of(loss) or settings.loss_name
        run_checkpoints = checkpoints_of(facts, settings, output)
        logs = trackers.log_folder(settings, output, run_checkpoints.folder.name)
        set_up(inputs.encoder, settings)
        skeleton = sharding.shard(inputs.encoder, exchange) if sharding.is_sharded(settings, exchange) else None
        announce(inputs, batches, settings, exchange, logs)
        facts |= trained(inputs.encoder, settings)
        watch = watch or writer_of_dev_scores(settings, output, inputs)
        started = time.monotonic()
        loop, objective = run(inputs, batches, settings, run_checkpoints, logs, exchange, loss, watch)
        facts |= facts_after(loop, objective, time.monotonic() - started)
        facts |= average(inputs.encoder, run_checkpoints, settings.average_checkpoints, exchange)
        whole_encoder = finished(inputs, skeleton, settings, exchange)
        if exchange.rank == 0:
            if watch is None or not watch.stopped:
                write(output, whole_encoder, facts)
            trackers.keep_files(run_checkpoints.folder, logs)
            run_checkpoints.remove()
        exchange.wait()
    return facts


def finished(inputs: Inputs, skeleton: Encoder | None, settings: TrainingSettings, exchange: ProcessGroup) -> Encoder:
    """The trained encoder as it is saved, whole on the first process.

    Args:
        inputs: with the encoder, or this process's shards of it.
        skeleton: what `sharding.shard` returned; None: there are no shards.
        settings, exchange: as in `train`.
    """
    encoder = inputs.encoder if skeleton is None else sharding.gather(inputs.encoder, skeleton, exchange)
    finish(encoder, settings)
    query_prompts.save_with(encoder, inputs.examples)
    return encoder


def writer_of_dev_scores(settings: TrainingSettings, output: str, inputs: Inputs) -> DevWatch | None:
    """What writes the dev scores where the settings say; None: nowhere. Arguments as in `train`."""
    if not settings.dev_scores_address or inputs.dev is None:
        return None
    file = dev_score_file(settings.dev_scores_address, output, inputs.data_fingerprint, inputs.dev.groups)
    return DevWatch(file.report, values=file.keep)


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
    faults = [
        *argument_faults(settings),
        *trackers.faults(settings),
        *lora.faults(settings),
        *quantized.faults(settings),
    ]
    if faults := [*faults, *sharding.faults(settings)]:
        raise InputError(faults)
    # transformers looks at the values.
    training_arguments(settings, Path(os.curdir), 1, eval_steps=settings.eval_steps)


def check_addresses(output: str, settings: TrainingSettings, exchange: ProcessGroup) -> None:
    """The first of the `exchange` raises InputError where `output`, or where `settings` copy to, cannot be written."""
    if exchange.rank == 0:
        storage.check_access(output, write=True)
        check_address(settings)
        if storage.is_remote(settings.dev_scores_address):
            storage.check_access(settings.dev_scores_address, write=True)


def checkpoints_of(facts: dict[str, Any], settings: TrainingSettings, output: str) -> Checkpoints:
    """The checkpoints of a run to `output`; only one of equal `facts` (data, model), code and settings finds them."""
    identity = {name: facts[name] for name in ("data_fingerprint", "examples_hash", "base_weights", "encoder", "loss")}
    given = {name: value for name, value in facts["settings"].items() if name not in CostSettings.model_fields}
    return checkpoints_for(identity | {"settings": given}, settings, output, "finetuning", __name__)


def write(output: str, encoder: Encoder, facts: dict[str, Any]) -> None:
    """Publish the model, the `encoder` and its `facts`, at `output`."""
    rows = {"queries": facts["counts"]["queries"], "steps": facts["steps"]}
    summary = {name: facts[name] for name in ("base_model", "data_fingerprint", "negatives_per_query", METRIC)}
    with storage.publish(output, producer="finetuning", run_id=facts["run"], rows=rows, facts=summary) as folder:
        export.write_model(folder, encoder, facts)
    logger.info(f"fine-tuning: model written to {output}")
