"""A training by FlagEmbedding's arguments: what each means as a setting of ours, in one line each what does not."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import polars as pl
import torch
import transformers
from transformers import HfArgumentParser

from sharpen.data.preparation.splits.assignment import lots
from sharpen.data.preparation.working_set import without_queries
from sharpen.data.readers import detect_inputs, distinct_names, input_name, read_dataset
from sharpen.data.readers.content import content_of
from sharpen.errors import InputError
from sharpen.models.model_hub import assemble_model
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.store.download_cache import get_or_create
from sharpen.training.flagembedding.arguments import (
    UNLIMITED,
    DataArguments,
    DecoderOnlyModelArguments,
    ModelArguments,
    TrainingArguments,
)
from sharpen.training.flagembedding.special_tokens import with_special_tokens
from sharpen.training.optimization.arguments import reason_against
from sharpen.training.optimization.loop_settings import WRITE_FILES
from sharpen.training.settings import TrainingSettings

NO_IN_BATCH = "no_in_batch_neg"

_OF_DECODERS = {f.name for f in dataclasses.fields(DecoderOnlyModelArguments)} - {
    f.name for f in dataclasses.fields(ModelArguments)
}
_ADAPTERS_FIRST = ("from_peft", "raw_peft", "modules_to_save", "only_merge_lora_model")
_M3 = ("colbert_dim", "unified_finetuning", "use_self_distill", "fix_encoder", "self_distill_start_step")
_ICL = ("example_query_max_len", "example_passage_max_len", "retrieval_use_examples", "icl_suffix_str")
_OTHER_EMBEDDERS = dict.fromkeys(_M3, "sparse and multi-vector") | dict.fromkeys(_ICL, "in-context")
_SAME_IN_DATA = ("train_group_size", "knowledge_distillation", "shuffle_ratio", "same_dataset_within_batch")
_SAME_IN_TRAINING = ("learning_rate", "num_train_epochs", "max_steps", "weight_decay", "max_grad_norm", "seed")
_SAME_IN_TRAINING += ("logging_steps", "negatives_cross_device", "fix_position_embedding", "kd_loss_type")
_READ = {*_SAME_IN_TRAINING, "output_dir", "per_device_train_batch_size", "gradient_accumulation_steps", "report_to"}
_READ |= {"bf16", "fp16", "gradient_checkpointing", "activation_checkpointing", "warmup_steps", "save_strategy"}
_READ |= {"save_steps", "save_total_limit", "do_train", "local_rank", "eval_steps", "lr_scheduler_type", "fsdp"}


@dataclass(frozen=True)
class FlagEmbeddingTraining:
    """What arguments of FlagEmbedding mean here.

    Attributes:
        model, data, output: as the arguments name them.
        settings, encoder: what `train` takes.
        notes: what is done otherwise here, a line each.
    """

    model: ModelArguments
    data: DataArguments
    output: str
    settings: TrainingSettings
    encoder: EncoderSettings
    notes: list[str]

    def run(self) -> dict[str, Any]:
        """Train, and return what `train` does; caches and the hub's token are variables of this process from here."""
        from sharpen.training.train import train

        named = {"SHARPEN_CACHE": self.data.cache_path, "HF_HUB_CACHE": self.model.cache_dir}
        os.environ |= {name: value for name, value in (named | {"HF_TOKEN": self.model.token}).items() if value}
        base = self.model.model_name_or_path
        if self.model.config_name or self.model.tokenizer_name:
            base = str(assemble_model(base, self.model.config_name, self.model.tokenizer_name))
        if tokens := getattr(self.model, "additional_special_tokens", None):
            base = str(with_special_tokens(base, tokens, self.settings.seed))
        most = self.data.max_example_num_per_dataset
        address = json.dumps(self.data.train_data)
        if most < UNLIMITED:
            address = limited(self.data.train_data, most, self.settings.seed)
        return train(address, None, base, self.output, self.settings, self.encoder)


class _Parser(HfArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def parse_command_line(arguments: Sequence[str]) -> tuple[ModelArguments, DataArguments, TrainingArguments]:
    """The three dataclasses; raises InputError for an argument that they do not have or a value that is none of its."""
    given = {argument.partition("=")[0].removeprefix("--") for argument in arguments if argument.startswith("--")}
    *parsed, unknown = _parse(ModelArguments, arguments)
    # the pooling of decoders, which FlagEmbedding trains by another module whose default is adapters
    if given & _OF_DECODERS or parsed[2].sentence_pooling_method == "last_token":
        *parsed, unknown = _parse(DecoderOnlyModelArguments, arguments)
    faults = []
    for name in (name for name in unknown if name.startswith("--")):
        other = _OTHER_EMBEDDERS.get(name[2:].partition("=")[0])
        why = f"{other} embeddings are not trained here, only dense ones" if other else "FlagEmbedding has none; --help"
        faults.append(f"{name}: {why}")
    if unknown:
        raise InputError(faults or [f"{unknown[0]}: belongs to no argument"])
    return parsed[0], parsed[1], parsed[2]


def _parse(model: type[ModelArguments], arguments: Sequence[str]) -> tuple[Any, ...]:
    """The three dataclasses, and the arguments that none of them has."""
    kinds: Any = (model, DataArguments, TrainingArguments)
    parser = _Parser(kinds, prog="python -m components.finetuning", allow_abbrev=False)
    return parser.parse_args_into_dataclasses(list(arguments), return_remaining_strings=True)


def from_arguments(
    model: ModelArguments, data: DataArguments, training: TrainingArguments, *, processes: int = 1
) -> FlagEmbeddingTraining:
    """The training that these arguments ask for.

    Args:
        model, data, training: as FlagEmbedding has them.
        processes: of the training; batches are given per process.

    Raises:
        InputError: something is missing, or asks for what is not possible here.
    """
    if not data.train_data:
        raise InputError("--train_data: name one or more files or folders")
    if not training.output_dir:
        raise InputError("--output_dir: name the folder of the new model")
    if storage.is_complete(training.output_dir) and not training.overwrite_output_dir:
        raise InputError(
            f"--output_dir: {training.output_dir} holds a model; pass --overwrite_output_dir to replace it"
        )
    notes = _unused(model, data)
    values = {name: getattr(data, name) for name in _SAME_IN_DATA}
    values |= {name: getattr(training, name) for name in _SAME_IN_TRAINING}
    values |= _batch_and_loss(training, processes, notes)
    values |= _saving_and_tracking(training, notes)
    values["training_arguments"] = _of_transformers(training, notes)
    encoder = _encoder(data, training, notes)
    if isinstance(model, DecoderOnlyModelArguments):
        _decoder(model, values, encoder, notes)
    if no_in_batch := sources_without_in_batch(data.train_data):
        if data.same_dataset_within_batch:
            values["no_inbatch_sources"] = no_in_batch
        else:
            notes.append(f"train_data: {NO_IN_BATCH} in a name needs same_dataset_within_batch, as in FlagEmbedding")
    return FlagEmbeddingTraining(
        model,
        data,
        training.output_dir,
        TrainingSettings.checked(values, where="--"),
        EncoderSettings.checked(encoder, where="--"),
        notes,
    )


def _unused(model: ModelArguments, data: DataArguments) -> list[str]:
    """A line for each argument that was set and does nothing here."""
    lines = {
        "trust_remote_code: no code from a model's folder is run": model.trust_remote_code,
        "use_fast_tokenizer: the fast tokenizer is used where there is one": not model.use_fast_tokenizer,
        "pad_to_multiple_of: widths of batches are chosen here; results do not depend on them": data.pad_to_multiple_of,
        "small_threshold: every file stays a dataset of its own": data.small_threshold,
        "drop_threshold: no file is dropped": data.drop_threshold,
    }
    unused = [line for line, given in lines.items() if given]
    return ["mask_false_negatives: known positives of a query and equal texts are never its negatives", *unused]


def _batch_and_loss(training: TrainingArguments, processes: int, notes: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "train_batch_size": training.per_device_train_batch_size * processes,
        "sub_batch_size": training.sub_batch_size if (training.sub_batch_size or 0) > 0 else None,
        "gradient_checkpointing": bool(training.gradient_checkpointing or training.activation_checkpointing),
        "temperature": 0.02 if training.temperature is None else training.temperature,
        "fsdp": bool(training.fsdp),
        "warmup_steps": training.warmup_steps or training.warmup_ratio,
        "lr_scheduler_type": getattr(training.lr_scheduler_type, "value", training.lr_scheduler_type),
    }
    if training.gradient_accumulation_steps > 1:
        values["train_batch_size"] *= training.gradient_accumulation_steps
        notes.append(
            f"gradient_accumulation_steps: all {values['train_batch_size']} queries of a step go through the gradient "
            "cache at once, with all of their passages as negatives"
        )
    if not training.normalize_embeddings and values["temperature"] != 1:
        values["temperature"] = 1.0
        notes.append("temperature: set to 1, since scores of embeddings that are not normalised have any size")
    if training.use_mrl:
        if not training.mrl_dims:
            raise InputError("--mrl_dims: use_mrl needs the lengths of the prefixes")
        values["matryoshka_dims"] = training.mrl_dims
        notes.append("use_mrl: embeddings of full length are trained too, besides mrl_dims")
    return values


def _saving_and_tracking(training: TrainingArguments, notes: list[str]) -> dict[str, Any]:
    trackers = [training.report_to] if isinstance(training.report_to, str) else training.report_to or []
    trackers = [name for name in trackers if name != "none"]
    values: dict[str, Any] = {"report_to": trackers}
    saved = getattr(training.save_strategy, "value", training.save_strategy) != "no"
    values["save_steps"] = training.save_steps if saved else 0
    if training.save_total_limit is not None:
        values["save_total_limit"] = max(2, training.save_total_limit)
        if training.save_total_limit < 2:
            notes.append("save_total_limit: 2, so that one is whole while the next is written")
    if training.eval_steps:
        notes.append("eval_steps: train_data have no dev split, so nothing is evaluated")
    if training.logging_dir:
        if WRITE_FILES & {*trackers}:
            values["logging_dir"] = training.logging_dir
        else:
            notes.append("logging_dir: nothing is written there without a tracker that writes files (report_to)")
    return values


def _of_transformers(training: TrainingArguments, notes: list[str]) -> dict[str, Any]:
    """Other fields of transformers that have an effect; a note for each that was set and has none."""
    passed = {}
    for one in dataclasses.fields(transformers.TrainingArguments):
        default = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
        value = getattr(training, one.name)
        # a command line gives "" as [] and "no" as False
        if one.name in _READ or value == default or (not value and default in (None, "", "no")):
            continue
        if not (reason := reason_against(one.name)):
            passed[one.name] = value
        else:
            notes.append(f"{one.name}: {reason}")
    return passed


def _encoder(data: DataArguments, training: TrainingArguments, notes: list[str]) -> dict[str, Any]:
    precision = "bf16" if training.bf16 or training.fp16 else "fp32"
    if training.fp16 and not training.bf16:
        precision = "bf16" if torch.cuda.is_available() else "fp32"
        notes.append(f"fp16: {precision} is used, which needs no scaling of the loss")
    return {
        "query_max_len": data.query_max_len,
        "passage_max_len": data.passage_max_len,
        "sentence_pooling_method": training.sentence_pooling_method,
        "normalize_embeddings": training.normalize_embeddings,
        # not the prompt in the model's folder
        "query_instruction_for_retrieval": data.query_instruction_for_retrieval or "",
        "query_instruction_format": data.query_instruction_format,
        "passage_instruction_for_retrieval": data.passage_instruction_for_retrieval or "",
        "passage_instruction_format": data.passage_instruction_format or "{}{}",
        "precision": precision,
    }


def _decoder(
    model: DecoderOnlyModelArguments, values: dict[str, Any], encoder: dict[str, Any], notes: list[str]
) -> None:
    """Add what a decoder's arguments ask for to the settings' values."""
    if given := [name for name in _ADAPTERS_FIRST if getattr(model, name)]:
        raise InputError([f"--{name}: not supported; merge the adapter into the model first" for name in given])
    if model.use_lora:
        values |= {name: getattr(model, name) for name in ("lora_rank", "lora_alpha", "lora_dropout")}
        values["lora_target_modules"] = model.target_modules
        notes.append(
            f"use_lora: adapters of rank {model.lora_rank} are trained, and merged into the model that is written; "
            "--use_lora False trains all weights"
        )
    if model.use_flash_attn and torch.cuda.is_available():
        encoder["attn_implementation"] = "flash_attention_2"
    elif model.use_flash_attn:
        notes.append("use_flash_attn: needs a GPU; the fastest attention of this CPU is used")


def sources_without_in_batch(addresses: Sequence[str]) -> list[str]:
    """Names of the sources whose folder, or file without its suffix, is called ``...no_in_batch_neg``."""
    files = [(address, file.address) for address in addresses for file in detect_inputs(address)]
    names = distinct_names([(input_name(file), file) for _, file in files])
    return [
        name
        for name, (address, file) in zip(names, files, strict=True)
        if address.rstrip("/").endswith(NO_IN_BATCH) or input_name(file).endswith(NO_IN_BATCH)
    ]


def limited(addresses: list[str], most: int, seed: int) -> str:
    """A data set in the cache with at most `most` queries of each source at the `addresses`, drawn by `seed`."""

    def fill(folder: Path) -> None:
        data = read_dataset(json.dumps(addresses))
        drawn = data.queries.with_columns(lots(seed, data.queries["query_id"])).sort("lot", "query_id")
        excess = drawn.filter(pl.int_range(pl.len()).over("source") >= most)
        with storage.publish(str(folder / "data"), producer="finetuning") as target:
            without_queries(data, excess).save(target)

    key = json.dumps(["limited", [content_of(address) for address in addresses], most, seed])
    return str(get_or_create(key, fill) / "data")
