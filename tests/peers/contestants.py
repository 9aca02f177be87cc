"""The trainers that are compared: each as the command of a process of its own, with the same work to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.peers.rows import ROOT, Size, stop

HERE = Path(__file__).parent
TIMED, SENTENCE_TRANSFORMERS = HERE / "timed.py", HERE / "train_sentence_transformers.py"
TEMPERATURE, LEARNING_RATE = 0.02, 2e-5
# Tokens of a step from which FlagEmbedding's activations of the whole batch (about 0.3 MB a token with MiniLM) would
# not fit into a common machine.
CHECKPOINT_FROM = 49_152


@dataclass(frozen=True)
class Task:
    """One process: what to train on and how."""

    size: Size
    precision: str
    data: Path
    model: Path
    folder: Path
    threads: int
    sub_batch_size: int
    flagembedding: Path


def needs_checkpointing(size: Size) -> bool:
    """Whether FlagEmbedding must recompute activations for the batch to fit into memory."""
    return size.queries * size.group * size.passage_max_len > CHECKPOINT_FROM


@dataclass(frozen=True)
class Run:
    """What a process showed; see `timed.Clock`."""

    seconds: list[float]
    cpu_seconds: list[float]
    losses: list[float]
    peak_gib: float
    versions: dict[str, str]


def sharpen(task: Task) -> list[str]:
    """Sharpen, with its own defaults for attention and micro-batches."""
    size = task.size
    return [
        *[sys.executable, str(TIMED), str(task.folder / "times.json"), "components.finetuning"],
        *["--data", str(task.data), "--model", str(task.model), "--output", str(task.folder / "model")],
        *["--train_batch_size", str(size.queries), "--train_group_size", str(size.group)],
        *["--query_max_len", str(size.query_max_len), "--passage_max_len", str(size.passage_max_len)],
        *["--max_steps", str(size.steps), "--precision", task.precision, "--seed", str(size.seed)],
        *["--temperature", str(TEMPERATURE), "--learning_rate", str(LEARNING_RATE), "--warmup_steps", "0"],
        *["--lr_scheduler_type", "constant", "--logging_steps", "1", "--save_steps", "0"],
    ]


def flagembedding(task: Task) -> list[str]:
    """FlagEmbedding's encoder-only fine-tuning, as its documentation starts it (torchrun, here with one process)."""
    size = task.size
    memory = []
    if needs_checkpointing(size):
        kwargs = json.dumps({"use_reentrant": False})
        memory = ["--gradient_checkpointing", "True", "--gradient_checkpointing_kwargs", kwargs]
        memory += ["--sub_batch_size", str(task.sub_batch_size)]
    return [
        *[str(task.flagembedding), "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "1", str(TIMED)],
        *[str(task.folder / "times.json"), "FlagEmbedding.finetune.embedder.encoder_only.base"],
        *["--model_name_or_path", str(task.model), "--train_data", str(task.data)],
        *["--cache_path", str(task.folder / "cache"), "--output_dir", str(task.folder / "model")],
        *["--per_device_train_batch_size", str(size.queries), "--train_group_size", str(size.group)],
        *["--query_max_len", str(size.query_max_len), "--passage_max_len", str(size.passage_max_len)],
        *["--max_steps", str(size.steps), "--dataloader_drop_last", "True", "--seed", str(size.seed)],
        *["--temperature", str(TEMPERATURE), "--sentence_pooling_method", "mean", "--normalize_embeddings", "True"],
        *["--knowledge_distillation", "False", "--learning_rate", str(LEARNING_RATE)],
        *["--lr_scheduler_type", "constant", "--logging_steps", "1", "--save_strategy", "no", "--report_to", "none"],
        *["--disable_tqdm", "True", "--use_cpu", "True", "--bf16", str(task.precision == "bf16")],
        *memory,
    ]


def sentence_transformers(task: Task) -> list[str]:
    """sentence-transformers' cached loss; mini-batches of `Task.sub_batch_size` rows (32 is its default)."""
    size = task.size
    return [
        *[sys.executable, str(TIMED), str(task.folder / "times.json"), str(SENTENCE_TRANSFORMERS)],
        *["--model", str(task.model), "--data", str(task.data), "--output", str(task.folder / "model")],
        *["--queries", str(size.queries), "--max_len", str(size.passage_max_len), "--steps", str(size.steps)],
        *["--mini_batch_size", str(task.sub_batch_size), "--temperature", str(TEMPERATURE)],
        *["--learning_rate", str(LEARNING_RATE), "--seed", str(size.seed)],
        *(["--bf16"] if task.precision == "bf16" else []),
    ]


def sentence_transformers_by_tokens(task: Task) -> list[str]:
    """The same with mini-batches by tokens, of Sharpen's size on a CPU."""
    return [*sentence_transformers(task), "--mini_batch_tokens", "1024"]


CONTESTANTS: dict[str, Callable[[Task], list[str]]] = {
    "Sharpen": sharpen,
    "FlagEmbedding": flagembedding,
    "sentence-transformers": sentence_transformers,
    "sentence-transformers, by tokens": sentence_transformers_by_tokens,
}


def run(name: str, task: Task) -> Run:
    """Train in a process of its own. Ends the benchmark with the process's last lines if it fails."""
    task.folder.mkdir(parents=True)
    environment = os.environ | {
        "OMP_NUM_THREADS": str(task.threads),
        "MKL_NUM_THREADS": str(task.threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(task.folder / "hf"),
        "SHARPEN_CACHE": str(task.folder / "sharpen"),
        "PYTHONPATH": "" if name == "FlagEmbedding" else str(ROOT),
    }
    log = task.folder / "log.txt"
    with log.open("w") as target:
        ended = subprocess.run(
            CONTESTANTS[name](task), cwd=task.folder, env=environment, stdout=target, stderr=subprocess.STDOUT
        )
    times = task.folder / "times.json"
    if ended.returncode or not times.is_file():
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-60:])
        stop(f"{name} ended with exit code {ended.returncode}; its last lines:\n{tail}", code=1)
    return Run(**json.loads(times.read_text()))
