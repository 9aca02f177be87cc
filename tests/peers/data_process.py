"""Preparing a file of rows in a process of its own: ``python -m tests.peers.data_process --help``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

TEST_SHARE, DEV_SHARE, SEED = 0.1, 0.05, 42


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=list(ENGINES), required=True)
    parser.add_argument("--rows", type=Path, required=True, help="JSON Lines of query, pos, neg")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    ENGINES[given.engine](given.rows, given.output)


def sharpen(rows: Path, output: Path) -> None:
    """Data preparation as it is by default."""
    _prepare(rows, output, {})


def sharpen_without_checks(rows: Path, output: Path) -> None:
    """Data preparation without languages, and with as few texts in the other checks as there can be."""
    _prepare(rows, output, {"detect_language": False, "check_sample": 100})


def _prepare(rows: Path, output: Path, settings: dict[str, Any]) -> None:
    from sharpen.data.preparation.prepare import prepare
    from sharpen.data.preparation.settings import DataSettings

    shares = {"test_share": TEST_SHARE, "dev_share": DEV_SHARE, "seed": SEED}
    prepare([str(rows)], [], str(output), DataSettings.checked({**shares, **settings}))


def with_datasets(rows: Path, output: Path) -> None:
    """By `datasets`: rows checked, texts normalised to the same keys, repeated queries left out, split, written."""
    from datasets import load_dataset

    processes = len(os.sched_getaffinity(0))
    data = load_dataset("json", data_files=str(rows), split="train", cache_dir=str(output / "cache"))
    data = data.filter(_is_usable, num_proc=processes)
    data = data.map(_with_keys, num_proc=processes)
    seen: set[str] = set()

    def is_new(row: dict[str, Any]) -> bool:
        if row["query_key"] in seen:
            return False
        seen.add(row["query_key"])
        return True

    data = data.filter(is_new)
    parts = data.train_test_split(TEST_SHARE + DEV_SHARE, seed=SEED)
    for name, part in parts.items():
        part.to_parquet(str(output / f"{name}.parquet"))


def _is_usable(row: dict[str, Any]) -> bool:
    query = row["query"].strip()
    return bool(query and row["pos"]) and all(text.strip() and text.strip() != query for text in row["pos"])


def _with_keys(row: dict[str, Any]) -> dict[str, Any]:
    from sharpen.data.text import key_id, text_key

    return {
        "query_key": key_id(text_key(row["query"])),
        "pos_keys": [key_id(text_key(text)) for text in row["pos"]],
        "neg_keys": [key_id(text_key(text)) for text in row["neg"]],
    }


def read_and_write(rows: Path, output: Path) -> None:
    """By polars: the rows as one Parquet file, nothing checked, the least that any preparation does."""
    import polars as pl

    output.mkdir(parents=True, exist_ok=True)
    pl.scan_ndjson(rows).sink_parquet(output / "rows.parquet")


ENGINES = {
    "Sharpen": sharpen,
    "Sharpen without checks": sharpen_without_checks,
    "datasets": with_datasets,
    "polars read and write": read_and_write,
}

if __name__ == "__main__":
    main()
