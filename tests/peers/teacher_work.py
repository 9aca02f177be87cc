"""A small cross-encoder, trained from an embedding model's weights: a teacher where none can be downloaded."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from sharpen.data.dataset import NEGATIVES, DataSet, read_table
from sharpen.data.relevance import Relevance
from sharpen.progress import progress

PAIRS = 32
# of each positive so many of its mined negatives are shown
NEGATIVES_SHOWN = 3


def train_cross_encoder(model: str, negatives: str, data: DataSet, folder: Path, given: argparse.Namespace) -> Path:
    """The folder of a cross-encoder that tells positives from mined negatives, by binary cross-entropy.

    Args:
        model: folder of the weights that it starts from.
        negatives: folder of mined negatives of the data's training queries.
        data: with queries that no student sees.
        folder: to write into.
        given: steps, length and precision.
    """
    output = folder / "cross-encoder"
    if (output / "model.safetensors").is_file():
        return output
    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1)
    queries, passages, labels = pairs_of(data, negatives)
    draw = np.random.default_rng(1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-5, weight_decay=0.01)
    warmup = max(1, given.teacher_steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (given.teacher_steps - step) / given.teacher_steps)
    )
    network.train()
    order = np.concatenate(
        [draw.permutation(len(labels)) for _ in range(1 + given.teacher_steps * PAIRS // len(labels))]
    )
    with progress("training the cross-encoder", given.teacher_steps, "steps") as reporter:
        for step in range(given.teacher_steps):
            rows = order[step * PAIRS : (step + 1) * PAIRS]
            batch = tokenizer(
                [queries[row] for row in rows],
                [passages[row] for row in rows],
                truncation="longest_first",
                max_length=given.passage_max_len + 32,
                padding=True,
                return_tensors="pt",
            )
            with torch.autocast("cpu", torch.bfloat16, enabled=given.precision == "bf16"):
                logits = network(**batch).logits[:, 0].float()
            loss = functional.binary_cross_entropy_with_logits(logits, torch.tensor([labels[row] for row in rows]))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            reporter.advance(1, f"loss {loss.item():.3f}")
    tokenizer.save_pretrained(output)
    network.save_pretrained(output)
    return output


def pairs_of(data: DataSet, negatives: str) -> tuple[list[str], list[str], list[float]]:
    """Texts of query and passage, and 1.0 for positives or 0.0 for negatives, of the training queries."""
    trained = data.queries_of("train").select("query_id", query="text")
    texts = data.corpus.select("passage_id", passage=pl.Series(data.passage_texts()))
    positives = Relevance.of(data).positives().select("query_id", "passage_id", label=pl.lit(1.0))
    mined = read_table(Path(negatives) / "negatives", NEGATIVES).group_by("query_id", maintain_order=True)
    shown = mined.head(NEGATIVES_SHOWN).select("query_id", "passage_id", label=pl.lit(0.0))
    joined = pl.concat([positives, shown]).join(trained, on="query_id").join(texts, on="passage_id")
    ordered = joined.sort("query_id", "passage_id")
    return ordered["query"].to_list(), ordered["passage"].to_list(), ordered["label"].to_list()
