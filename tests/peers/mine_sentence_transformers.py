"""Mine with sentence-transformers; arguments from `miners.py`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives


class Autocast(SentenceTransformer):
    """The model under bf16 autocast; its search and scores stay in fp32."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(*args, **kwargs)


def load(model: str, max_len: int, *, bf16: bool) -> SentenceTransformer:
    """The model on the CPU, for texts of at most `max_len` tokens."""
    loaded = (Autocast if bf16 else SentenceTransformer)(model, device="cpu")
    loaded.max_seq_length = max_len
    return loaded


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--cache")
    parser.add_argument("--max_len", type=int, required=True)
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--range", required=True)
    parser.add_argument("--negatives", type=int, required=True)
    parser.add_argument("--relative_margin", type=float, required=True)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--faiss", action="store_true")
    given = parser.parse_args()

    rows = [json.loads(line) for line in given.data.read_text().splitlines()]
    pairs = [(row["query"], positive) for row in rows for positive in row["pos"]]
    start, end = map(int, given.range.split("-"))
    mined = mine_hard_negatives(
        Dataset.from_dict({"query": [query for query, _ in pairs], "positive": [positive for _, positive in pairs]}),
        load(given.model, given.max_len, bf16=given.bf16),
        corpus=[json.loads(line)["text"] for line in given.pool.read_text().splitlines()],
        range_min=start,
        range_max=end,
        relative_margin=given.relative_margin,
        num_negatives=given.negatives,
        sampling_strategy="random",
        output_format="labeled-list",
        batch_size=given.batch_size,
        use_faiss=given.faiss,
        cache_folder=given.cache,
    )
    mined.to_json(given.output)


if __name__ == "__main__":
    main()
