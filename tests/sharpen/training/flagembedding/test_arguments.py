"""FlagEmbedding's arguments: names and defaults as its documentation has them, and what they become."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from transformers import HfArgumentParser
from transformers import TrainingArguments as TransformersArguments

from sharpen.data.dataset import DataSet
from sharpen.errors import InputError
from sharpen.training.flagembedding.arguments import (
    AbsEmbedderDataArguments,
    AbsEmbedderModelArguments,
    AbsEmbedderTrainingArguments,
    DataArguments,
    ModelArguments,
    TrainingArguments,
)
from sharpen.training.flagembedding.command import from_arguments, limited, parse_command_line
from sharpen.training.settings import TrainingSettings

# of FlagEmbedding 1.4.2, abc/finetune/embedder/AbsArguments.py
MODEL = {"config_name": None, "tokenizer_name": None, "cache_dir": None, "trust_remote_code": False}
MODEL |= {"use_fast_tokenizer": True, "token": None}
DATA = {
    "cache_path": None,
    "train_group_size": 8,
    "query_max_len": 32,
    "passage_max_len": 128,
    "pad_to_multiple_of": None,
    "max_example_num_per_dataset": 100000000,
    "query_instruction_for_retrieval": None,
    "query_instruction_format": "{}{}",
    "knowledge_distillation": False,
    "passage_instruction_for_retrieval": None,
    "passage_instruction_format": "{}{}",
    "shuffle_ratio": 0.0,
    "same_dataset_within_batch": False,
    "small_threshold": 0,
    "drop_threshold": 0,
}
TRAINING = {
    "negatives_cross_device": False,
    "temperature": 0.02,
    "fix_position_embedding": False,
    "sentence_pooling_method": "cls",
    "normalize_embeddings": True,
    "sub_batch_size": None,
    "kd_loss_type": "kl_div",
    "use_mrl": False,
    "mrl_dims": [],
}


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    path = tmp_path / "rows.jsonl"
    values = [{"query": f"q {n}", "pos": [f"p {n}"], "neg": [f"n {n}"]} for n in range(9)]
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def converted(rows: Path, processes: int = 1, **values: Any) -> Any:
    """From a dict, as `HfArgumentParser` reads one."""
    given = {"model_name_or_path": "m", "train_data": [str(rows)], "output_dir": str(rows.parent / "out"), **values}
    parser = HfArgumentParser((ModelArguments, DataArguments, TrainingArguments))  # type: ignore[arg-type]
    return from_arguments(*parser.parse_dict(given), processes=processes)


def test_names_and_defaults_are_theirs(rows: Path) -> None:
    line = ["--model_name_or_path", "m", "--train_data", str(rows), "a b.jsonl", "--output_dir", "out"]
    model, data, training = parse_command_line(line)
    assert isinstance(model, AbsEmbedderModelArguments)
    assert isinstance(data, AbsEmbedderDataArguments) and data.train_data == [str(rows), "a b.jsonl"]
    assert isinstance(training, AbsEmbedderTrainingArguments) and isinstance(training, TransformersArguments)
    assert {name: getattr(model, name) for name in MODEL} == MODEL
    assert {name: getattr(data, name) for name in DATA} == DATA
    assert {name: getattr(training, name) for name in TRAINING} == TRAINING
    theirs = {one.name: one.default for one in dataclasses.fields(TransformersArguments)}
    assert {name: getattr(training, name) for name in ("learning_rate", "num_train_epochs", "warmup_steps")} == {
        name: theirs[name] for name in ("learning_rate", "num_train_epochs", "warmup_steps")
    }


def test_a_command_line_of_defaults_has_no_note_but_one(rows: Path) -> None:
    line = ["--model_name_or_path", "m", "--train_data", str(rows), "--output_dir", str(rows.parent / "out")]
    training = from_arguments(*parse_command_line(line))
    assert [note.partition(":")[0] for note in training.notes] == ["mask_false_negatives"]
    assert training.settings.learning_rate == 5e-5 and training.settings.num_train_epochs == 3
    assert not training.settings.negatives_cross_device and training.settings.save_steps == 500
    assert training.encoder.query_max_len == 32 and training.encoder.precision == "fp32"
    # their embedders have no prompt unless one is given
    assert training.encoder.query_instruction_for_retrieval == ""


def test_what_becomes_settings(rows: Path) -> None:
    training = converted(
        rows,
        processes=2,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=3,
        normalize_embeddings=False,
        sub_batch_size=-1,
        use_mrl=True,
        mrl_dims=[8, 16],
        save_strategy="no",
        save_total_limit=1,
        optim="sgd",
        adam_beta1=0.8,
        lr_scheduler_type="cosine",
        warmup_ratio=0.2,
        bf16=True,
        report_to="none",
        passage_instruction_format="{}\\n{}",
    )
    settings = training.settings
    assert settings.train_batch_size == 24 and settings.temperature == 1.0 and settings.sub_batch_size is None
    assert settings.matryoshka_dims == [8, 16] and settings.save_steps == 0 and settings.save_total_limit == 2
    assert settings.training_arguments == {"optim": "sgd", "adam_beta1": 0.8}
    assert settings.fsdp is False and converted(rows, fsdp=True).settings.fsdp is True
    assert settings.lr_scheduler_type == "cosine" and settings.warmup_steps == 0.2
    assert training.encoder.precision == "bf16" and training.encoder.passage_instruction_format == "{}\n{}"
    assert [note.partition(":")[0] for note in training.notes[1:]] == [
        *("gradient_accumulation_steps", "temperature", "use_mrl", "save_total_limit")
    ]
    assert "all 24 queries of a step" in training.notes[1]


def test_nothing_is_ignored_silently(rows: Path) -> None:
    given = {"trust_remote_code": True, "use_fast_tokenizer": False, "small_threshold": 5, "eval_steps": 10}
    given |= {"fp16": not torch.cuda.is_available(), "deepspeed": "x.json", "label_smoothing_factor": 0.1}
    notes = " ".join(converted(rows, **given).notes)
    assert all(f"{name}: " in notes for name in given)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train_data": []}, "--train_data: name one"),
        ({"train_data": ["./nothing.jsonl"]}, "nothing.jsonl"),
        ({"use_mrl": True}, "--mrl_dims"),
        ({"save_steps": 0.5}, "--save_steps"),
        ({"query_instruction_format": "{}"}, "--query_instruction_format"),
        ({"per_device_train_batch_size": 1, "train_group_size": 1}, "no negatives"),
    ],
)
def test_what_cannot_be_is_one_line(rows: Path, values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        converted(rows, **values)
    assert len(raised.value.faults) == 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--unified_finetuning", "True"], "sparse and multi-vector embeddings are not trained here"),
        (["--example_query_max_len", "9"], "in-context embeddings"),
        (["--temprature", "1"], "FlagEmbedding has none"),
        (["--kd_loss_type", "mse"], "invalid choice"),
        (["--query_max_len", "long"], "invalid int value"),
        (["--use_lora", "True", "--from_peft", "x"], "--from_peft: not supported"),
    ],
)
def test_options_that_they_do_not_have(rows: Path, option: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        line = ["--model_name_or_path", "m", "--train_data", str(rows), "--output_dir", "out"]
        from_arguments(*parse_command_line([*line, *option]))


def test_the_token_is_not_shown(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    training = converted(rows)
    assert training.model.token == "hf_secret"
    assert "hf_secret" not in repr(training)


def test_a_file_gives_at_most_so_many_queries(rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "cache"))
    address = limited([str(rows)], 4, seed=1)
    data = DataSet.open(address)
    assert data.queries.height == 4 and data.qrels.height == 4 and (data.queries["split"] == "train").all()
    assert limited([str(rows)], 4, seed=1) == address
    chosen = [set(DataSet.open(limited([str(rows)], 4, seed=seed)).queries["query_id"]) for seed in range(1, 5)]
    assert any(one != chosen[0] for one in chosen) and isinstance(data.queries, pl.DataFrame)


def test_accumulated_batches_are_one_batch() -> None:
    """The same settings as with the product, so the same gradient: there is nothing that could differ."""
    accumulated = TrainingSettings.checked(
        {"train_batch_size": "4", "training_arguments": {"gradient_accumulation_steps": 3, "optim": "sgd"}}
    )
    assert accumulated == TrainingSettings.checked({"train_batch_size": 12, "training_arguments": {"optim": "sgd"}})
    assert TrainingSettings.from_json(accumulated.model_dump_json()) == accumulated
    with pytest.raises(InputError, match="gradient_accumulation_steps must be at least 1"):
        TrainingSettings.checked({"training_arguments": {"gradient_accumulation_steps": 0}})
