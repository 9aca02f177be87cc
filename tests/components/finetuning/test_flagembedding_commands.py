"""Commands of FlagEmbedding's README (examples/finetune/embedder), word for word but for the paths and the model."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModel, AutoTokenizer

from components.finetuning.__main__ import command_line
from sharpen.training.flagembedding.command import parse_command_line
from tests.sharpen.models.tiny_models import make_model

pytestmark = [pytest.mark.model, pytest.mark.processes]

STANDARD = r"""
torchrun --nproc_per_node 1 \
    -m FlagEmbedding.finetune.embedder.encoder_only.base \
    --model_name_or_path BAAI/bge-large-en-v1.5 \
    --cache_dir ./cache/model \
    --train_data ./my_data/finetune_data_minedHN.jsonl \
    --cache_path ./cache/data \
    --train_group_size 8 \
    --query_max_len 512 \
    --passage_max_len 512 \
    --pad_to_multiple_of 8 \
    --knowledge_distillation False \
    --output_dir ./FT-1125-bge-large-en-v1.5 \
    --overwrite_output_dir \
    --learning_rate 1e-5 \
    --fp16 \
    --num_train_epochs 2 \
    --per_device_train_batch_size 2 \
    --dataloader_drop_last True \
    --warmup_ratio 0.1 \
    --gradient_checkpointing \
    --deepspeed ../ds_stage0.json \
    --logging_steps 1 \
    --save_steps 1000 \
    --negatives_cross_device \
    --temperature 0.02 \
    --sentence_pooling_method cls \
    --normalize_embeddings True \
    --kd_loss_type kl_div
"""
SEVERAL_FILES = r"""
torchrun --nproc_per_node 2 \
    -m FlagEmbedding.finetune.embedder.encoder_only.base \
    --model_name_or_path BAAI/bge-large-en-v1.5 \
    --cache_dir ./cache/model \
    --train_data ./example_data/retrieval \
                 ./example_data/sts/sts.jsonl \
                 ./example_data/classification-no_in_batch_neg \
                 ./example_data/clustering-no_in_batch_neg \
    --cache_path ./cache/data \
    --train_group_size 8 \
    --query_max_len 512 \
    --passage_max_len 512 \
    --pad_to_multiple_of 8 \
    --query_instruction_for_retrieval 'Represent this sentence for searching relevant passages: ' \
    --query_instruction_format '{}{}' \
    --knowledge_distillation False \
    --output_dir ./test_encoder_only_base_bge-large-en-v1.5 \
    --overwrite_output_dir \
    --learning_rate 1e-5 \
    --fp16 \
    --num_train_epochs 2 \
    --per_device_train_batch_size 2 \
    --dataloader_drop_last True \
    --warmup_ratio 0.1 \
    --gradient_checkpointing \
    --deepspeed ../ds_stage0.json \
    --logging_steps 1 \
    --save_steps 1000 \
    --negatives_cross_device \
    --temperature 0.02 \
    --sentence_pooling_method cls \
    --normalize_embeddings True \
    --kd_loss_type kl_div
"""
DECODER = r"""
torchrun --nproc_per_node 2 \
    -m FlagEmbedding.finetune.embedder.decoder_only.base \
    --model_name_or_path BAAI/bge-multilingual-gemma2 \
    --cache_dir ./cache/model \
    --use_lora True \
    --lora_rank 32 \
    --lora_alpha 64 \
    --target_modules q_proj k_proj v_proj o_proj gate_proj down_proj up_proj \
    --additional_special_tokens '<instruct>' '<query>' \
    --save_merged_lora_model True \
    --train_data ./example_data/retrieval \
                 ./example_data/sts/sts.jsonl \
                 ./example_data/classification-no_in_batch_neg \
                 ./example_data/clustering-no_in_batch_neg \
    --cache_path ./cache/data \
    --train_group_size 8 \
    --query_max_len 512 \
    --passage_max_len 512 \
    --pad_to_multiple_of 8 \
    --query_instruction_for_retrieval 'Given a query, retrieve passages that are relevant to the query.' \
    --query_instruction_format '<instruct>{}\n<query>{}' \
    --knowledge_distillation True \
    --same_dataset_within_batch True \
    --small_threshold 0 \
    --drop_threshold 0 \
    --output_dir ./test_decoder_only_base_bge-multilingual-gemma2_sd \
    --overwrite_output_dir \
    --learning_rate 1e-4 \
    --fp16 \
    --num_train_epochs 1 \
    --per_device_train_batch_size 2 \
    --dataloader_drop_last True \
    --warmup_ratio 0.1 \
    --gradient_checkpointing \
    --deepspeed ../ds_stage1.json \
    --logging_steps 1 \
    --save_steps 1000 \
    --negatives_cross_device \
    --temperature 0.02 \
    --sentence_pooling_method last_token \
    --normalize_embeddings True \
    --kd_loss_type m3_kd_loss
"""
FILES = (
    "my_data/finetune_data_minedHN.jsonl",
    "example_data/retrieval/nq.jsonl",
    "example_data/sts/sts.jsonl",
    "example_data/classification-no_in_batch_neg/emotions.jsonl",
    "example_data/clustering-no_in_batch_neg/arxiv.jsonl",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the files that the commands name, a few rows each."""
    place = tmp_path_factory.mktemp("flagembedding commands")
    for number, name in enumerate(FILES):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {
                "query": f"question {number}{row} about the river",
                "pos": [f"answer {number}{row} near the river"],
                "neg": [f"other text {number}{row}{n}" for n in range(7)],
                "pos_scores": [4.0],
                "neg_scores": [float(-n) for n in range(7)],
                "type": "normal",
            }
            for row in range(4)
        ]
        (place / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


def words_of(command: str, model: Path) -> list[str]:
    """A command of theirs, two steps of it on one process, with a model of ours."""
    command = re.sub(r"-m FlagEmbedding\S+", "-m components.finetuning", command)
    command = re.sub(r"--model_name_or_path \S+", f"--model_name_or_path {shlex.quote(str(model))}", command)
    words = shlex.split(command.replace("--nproc_per_node 2", "--nproc_per_node 1").replace("\\\n", " "))
    return [*words, "--max_steps", "2"]


def facts_of(words: list[str], folder: Path) -> dict:
    return json.loads((folder / words[words.index("--output_dir") + 1] / "training.json").read_text())


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], int]:
    """Runs a command in this process, from the working folder, and gives its exit code; variables are put back."""
    monkeypatch.chdir(folder)
    for name in ("SHARPEN_CACHE", "HF_HUB_CACHE", "HF_TOKEN"):
        monkeypatch.setenv(name, "")

    def run(words: list[str]) -> int:
        monkeypatch.setattr(sys, "argv", ["components.finetuning", *words])
        try:
            command_line()
        except SystemExit as left:
            return int(left.code or 0)
        return 0

    return run


def test_the_standard_model_under_torchrun(folder: Path, tiny_model: Path) -> None:
    words = words_of(STANDARD, tiny_model)
    launcher = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run([*launcher, *words[1:]], cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = facts_of(words, folder)
    settings, encoder = facts["settings"], facts["encoder"]
    assert facts["steps"] == 2 and settings["train_batch_size"] == 2 and settings["warmup_steps"] == 0.1
    assert settings["gradient_checkpointing"] and settings["negatives_cross_device"]
    assert encoder["sentence_pooling_method"] == "cls"
    notes = re.findall(r"^note: (\w+): ", done.stdout, re.MULTILINE)
    assert notes == ["mask_false_negatives", "pad_to_multiple_of", "dataloader_drop_last", "deepspeed", "fp16"]
    # --cache_path is where prepared data are
    assert any((folder / "cache/data/entries").iterdir())


def test_several_files_and_an_instruction(
    folder: Path, tiny_model: Path, here: Callable[[list[str]], int], capfd: pytest.CaptureFixture[str]
) -> None:
    words = words_of(SEVERAL_FILES, tiny_model)
    assert here(words[words.index("--model_name_or_path") :]) == 0
    facts = facts_of(words, folder)
    assert facts["counts"]["queries"] == 16
    assert sorted(facts["sources"]) == ["arxiv", "emotions", "nq", "sts"]
    assert facts["encoder"]["query_instruction_for_retrieval"].startswith("Represent this sentence")
    assert facts["settings"]["no_inbatch_sources"] == []
    assert "note: train_data: no_in_batch_neg in a name needs same_dataset_within_batch" in capfd.readouterr().out


def test_a_decoder_with_adapters_and_distillation(
    folder: Path, tmp_path: Path, here: Callable[[list[str]], int], capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("peft")
    words = words_of(DECODER, make_model(tmp_path / "llama", "llama"))
    assert here(words[words.index("--model_name_or_path") :]) == 0
    facts = facts_of(words, folder)
    assert facts["adapters"] and facts["settings"]["kd_loss_type"] == "m3_kd_loss"
    assert sorted(facts["settings"]["no_inbatch_sources"]) == ["arxiv", "emotions"]
    assert facts["encoder"]["query_instruction_format"] == "<instruct>{}\n<query>{}"
    assert "note: use_lora: adapters of rank 32 are trained" in capfd.readouterr().out
    # tokens that were in nobody's vocabulary are whole, and have vectors
    output = folder / words[words.index("--output_dir") + 1]
    tokenizer = AutoTokenizer.from_pretrained(output)
    assert {"<instruct>", "<query>"} <= {*tokenizer.tokenize("<instruct>a<query>")}
    assert AutoModel.from_pretrained(output).get_input_embeddings().num_embeddings == len(tokenizer)


def test_a_decoder_gets_adapters_unless_it_is_told_otherwise_as_in_flagembedding() -> None:
    words = ["--model_name_or_path", "m", "--train_data", "d", "--output_dir", "o"]
    encoder, *_ = parse_command_line(words)
    decoder, *_ = parse_command_line([*words, "--sentence_pooling_method=last_token"])
    whole, *_ = parse_command_line([*words, "--sentence_pooling_method=last_token", "--use_lora", "False"])
    assert not hasattr(encoder, "use_lora")
    assert (decoder.use_lora, decoder.lora_rank, whole.use_lora) == (True, 64, False)


def test_arguments_that_are_more_than_a_setting(
    folder: Path, tiny_model: Path, tmp_path: Path, here: Callable[[list[str]], int], capfd: pytest.CaptureFixture[str]
) -> None:
    """Another configuration and tokenizer, a limit for each file, and accumulated steps."""
    config = json.loads((tiny_model / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 0.01}))
    words = [
        "--model_name_or_path",
        str(tiny_model),
        "--config_name",
        str(tmp_path),
        "--tokenizer_name",
        str(tiny_model),
    ]
    words += ["--train_data", FILES[0], "--max_example_num_per_dataset", "3", "--output_dir", "out", "--max_steps", "1"]
    words += ["--per_device_train_batch_size", "1", "--gradient_accumulation_steps", "2", "--cache_path", "cache/other"]
    assert here(words) == 0
    facts = facts_of(words, folder)
    assert facts["counts"]["queries"] == 3 and facts["settings"]["train_batch_size"] == 2
    assert json.loads((folder / "out" / "config.json").read_text())["layer_norm_eps"] == 0.01
    assert "note: gradient_accumulation_steps: all 2 queries of a step" in capfd.readouterr().out
    assert here(words) == 2
    assert "--output_dir: out holds a model; pass --overwrite_output_dir" in "".join(capfd.readouterr())


def test_a_wrong_command_line_is_one_line(here: Callable[[list[str]], int], capfd: pytest.CaptureFixture[str]) -> None:
    assert here(["--model_name_or_path", "x", "--train_data", "y", "--temprature", "1"]) == 2
    shown = "".join(capfd.readouterr())
    assert "--temprature: FlagEmbedding has none; --help" in shown and "Traceback" not in shown
