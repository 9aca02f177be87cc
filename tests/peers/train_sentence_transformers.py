"""Train with sentence-transformers' cached in-batch loss; run by `timed.py`, arguments from `contestants.py`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--queries", type=int, required=True)
    parser.add_argument("--max_len", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--mini_batch_size", type=int, required=True)
    parser.add_argument("--mini_batch_tokens", type=int)
    parser.add_argument("--temperature", type=float, required=True)
    parser.add_argument("--learning_rate", type=float, required=True)
    parser.add_argument("--lr_scheduler_type", required=True)
    parser.add_argument("--warmup_steps", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--bf16", action="store_true")
    given = parser.parse_args()

    model = SentenceTransformer(given.model, device="cpu")
    model.max_seq_length = given.max_len
    loss = CachedMultipleNegativesRankingLoss(
        model,
        scale=1 / given.temperature,
        mini_batch_size=given.mini_batch_size,
        mini_batch_num_tokens=given.mini_batch_tokens,
    )
    arguments = SentenceTransformerTrainingArguments(
        output_dir=given.output,
        max_steps=given.steps,
        per_device_train_batch_size=given.queries,
        dataloader_drop_last=True,
        learning_rate=given.learning_rate,
        lr_scheduler_type=given.lr_scheduler_type,
        warmup_steps=given.warmup_steps,
        seed=given.seed,
        bf16=given.bf16,
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    SentenceTransformerTrainer(model=model, args=arguments, train_dataset=columns(Path(given.data)), loss=loss).train()
    model.save_pretrained(given.output)


def columns(file: Path) -> Dataset:
    """Rows of FlagEmbedding's format as the columns that the loss takes: anchor, positive, negative_1 ..."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return Dataset.from_list(
        [
            {"anchor": row["query"], "positive": row["pos"][0]}
            | {f"negative_{number}": text for number, text in enumerate(row["neg"], start=1)}
            for row in rows
        ]
    )


if __name__ == "__main__":
    main()
