"""The miners that are compared: each as the command of a process of its own, with the same work to do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.peers.mining_data import MiningData

HERE = Path(__file__).parent
# What a contestant computes in when nobody says.
DEFAULT = "default"
RANGE, NEGATIVES, MARGIN = "10-210", 15, 0.05


@dataclass(frozen=True)
class MiningTask:
    """One process: what to mine and how.

    Attributes:
        data: queries and passages.
        model: folder of the model.
        folder: where the process works; the caches of a first and a second run are the same.
        output: name of the output in it.
        lengths: longest query and passage in tokens.
        precision: ``fp32``, ``bf16`` or `DEFAULT`.
        batch_size: texts that a peer encodes at once.
        flagembedding: Python of FlagEmbedding's environment; ``hn_mine.py`` lies in the environment's folder.
    """

    data: MiningData
    model: Path
    folder: Path
    output: str
    lengths: tuple[int, int]
    precision: str
    batch_size: int
    flagembedding: Path


def sharpen(task: MiningTask) -> list[str]:
    """Sharpen, with its defaults but for the ranks after the range, which the peers do not search."""
    query_max_len, passage_max_len = task.lengths
    return [
        *[sys.executable, "-m", "components.hard_negatives", "--data", str(task.data.folder)],
        *["--model", str(task.model), "--output", str(task.folder / task.output)],
        *["--query_max_len", str(query_max_len), "--passage_max_len", str(passage_max_len)],
        *["--precision", our_precision(task.precision), "--range_for_sampling", RANGE, "--sampling", "random"],
        *["--negative_number", str(NEGATIVES)],
        *["--relative_margin", str(MARGIN), "--further_ranks", "0"],
    ]


def our_precision(precision: str) -> str:
    """`EncoderSettings.precision`."""
    return "auto" if precision == DEFAULT else precision


def flagembedding(task: MiningTask) -> list[str]:
    """FlagEmbedding's script, unchanged; it has no margins and no cache, and computes in fp32 on a CPU by itself."""
    query_max_len, passage_max_len = task.lengths
    autocast = [str(HERE / "autocast.py")] if task.precision == "bf16" else []
    return [
        *[str(task.flagembedding), *autocast, str(hn_mine(task.flagembedding))],
        *["--embedder_name_or_path", str(task.model), "--embedder_model_class", "encoder-only-base"],
        *["--pooling_method", "mean", "--use_fp16", "False", "--devices", "cpu"],
        *["--embedder_query_max_length", str(query_max_len), "--embedder_passage_max_length", str(passage_max_len)],
        *["--batch_size", str(task.batch_size), "--input_file", str(task.data.rows)],
        *["--candidate_pool", str(task.data.pool), "--output_file", str(task.folder / f"{task.output}.jsonl")],
        *["--range_for_sampling", RANGE, "--negative_number", str(NEGATIVES)],
    ]


def sentence_transformers(task: MiningTask) -> list[str]:
    """sentence-transformers' function with the same range, number and margin, its vectors cached in a folder."""
    return [
        *[sys.executable, str(HERE / "mine_sentence_transformers.py"), "--model", str(task.model)],
        *["--data", str(task.data.rows), "--pool", str(task.data.pool)],
        *["--output", str(task.folder / f"{task.output}.jsonl"), "--cache", str(task.folder / "vectors")],
        *["--max_len", str(max(task.lengths)), "--batch_size", str(task.batch_size)],
        *["--range", RANGE, "--negatives", str(NEGATIVES), "--relative_margin", str(MARGIN)],
        *(["--bf16"] if task.precision == "bf16" else []),
    ]


def sentence_transformers_faiss(task: MiningTask) -> list[str]:
    """The same with its search by faiss."""
    return [*sentence_transformers(task), "--faiss"]


def hn_mine(flagembedding: Path) -> Path:
    """FlagEmbedding's mining script, which its package does not hold: it lies beside the environment's ``bin``."""
    return flagembedding.parent.parent / "hn_mine.py"


MINERS: dict[str, Callable[[MiningTask], list[str]]] = {
    "Sharpen": sharpen,
    "FlagEmbedding": flagembedding,
    "sentence-transformers": sentence_transformers,
    "sentence-transformers, faiss": sentence_transformers_faiss,
}
CACHED = [name for name in MINERS if name != "FlagEmbedding"]
