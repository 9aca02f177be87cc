"""The trainers that are compared: each as the command of a process of its own, with the same work to do."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.peers.process import environment, last_lines, run_process
from tests.peers.rows import ROOT, Size, stop

HERE = Path(__file__).parent
TIMED, SENTENCE_TRANSFORMERS = HERE / "timed.py", HERE / "train_sentence_transformers.py"
TEMPERATURE, LEARNING_RATE = 0.02, 2e-5
# Tokens of a step from which FlagEmbedding's activations of the whole batch (about 0.3 MB a token with MiniLM) would
# not fit into a common machine.
CHECKPOINT_FROM = 49_152


@dataclass(frozen=True)
class Task:
    """One process: what to train on and how; the model that comes of it is left in ``folder/model``."""

    size: Size
    precision: str
    data: Path
    model: Path
    folder: Path
    threads: int
    sub_batch_size: int
    flagembedding: Path
    learning_rate: float = LEARNING_RATE
    lr_scheduler_type: str = "constant"
    warmup_steps: float = 0


def flagembedding_python() -> Path:
    """The interpreter of the environment that has FlagEmbedding."""
    return Path(os.environ.get("SHARPEN_PEER_FLAGEMBEDDING") or ROOT / ".venv-flagembedding") / "bin" / "python"


def require_flagembedding(*needed: Path) -> None:
    """End the benchmark if a part of FlagEmbedding's environment is not there."""
    for path in needed:
        if not path.is_file():
            stop(
                f"{path} is not there; start the benchmark with make, or set SHARPEN_PEER_FLAGEMBEDDING to the folder "
                "of a virtual environment that has FlagEmbedding (for mining also faiss-cpu and, in the folder itself, "
                "FlagEmbedding's scripts/hn_mine.py)"
            )


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
    before_training_gib: float
    peak_in_training_gib: float
    gpu_peak_gib: float | None
    versions: dict[str, str]


def schedule(task: Task) -> list[str]:
    """The learning rate and its course, spelt alike by all."""
    return [
        *["--learning_rate", str(task.learning_rate), "--lr_scheduler_type", task.lr_scheduler_type],
        *["--warmup_steps", str(task.warmup_steps)],
    ]


def sharpen(task: Task) -> list[str]:
    """Sharpen, with its own defaults for attention and micro-batches."""
    size = task.size
    return [
        *[sys.executable, str(TIMED), str(task.folder / "times.json"), "components.finetuning"],
        *["--data", str(task.data), "--model", str(task.model), "--output", str(task.folder / "model")],
        *["--train_batch_size", str(size.queries), "--train_group_size", str(size.group)],
        *["--query_max_len", str(size.query_max_len), "--passage_max_len", str(size.passage_max_len)],
        *["--max_steps", str(size.steps), "--precision", task.precision, "--seed", str(size.seed)],
        *["--temperature", str(TEMPERATURE), "--logging_steps", "1", "--save_steps", "0", *schedule(task)],
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
        *["--knowledge_distillation", "False", *schedule(task)],
        *["--logging_steps", "1", "--save_strategy", "no", "--report_to", "none"],
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
        *["--seed", str(size.seed), *schedule(task)],
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


def run(name: str, task: Task, limit_minutes: float) -> Run:
    """Train in a process of its own. Ends the benchmark with the process's last lines if it fails or hangs."""
    environ = environment(task.folder, task.threads, ours=name != "FlagEmbedding")
    if name == "Sharpen":
        # as `limit_heaps` does at the start of a step, which here begins with the clock's torch
        environ["MALLOC_ARENA_MAX"] = str(max(2, task.threads))
    run_process(name, CONTESTANTS[name](task), task.folder, environ, limit_minutes)
    times = task.folder / "times.json"
    if not times.is_file():
        stop(f"{name} ended without having trained; its last lines:\n{last_lines(task.folder)}", code=1)
    return Run(**json.loads(times.read_text()))
