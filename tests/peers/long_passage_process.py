"""Whole trainings of one step with long passages, each in a forked process: seconds and memory, as lines of JSON.

``python -m tests.peers.long_passage_process MODEL PRECISION '[{"length": ..., "settings": {...}}]' FOLDER``
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import psutil
from torch.multiprocessing.spawn import start_processes

from sharpen.settings import EncoderSettings
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.peers.memory import high_water
from tests.peers.random_model import text
from tests.peers.sharded_process import forget_peak

QUERY_WORDS = 12


def main() -> None:
    model, precision, tried, folder = sys.argv[1:]
    for number, one in enumerate(json.loads(tried)):
        work = Path(folder) / str(number)
        work.mkdir(parents=True)
        # a fork has the libraries at once, and memory of its own
        start_processes(measured, args=(model, precision, one, work), start_method="fork")
        print((work / "found.json").read_text(), flush=True)


def measured(_: int, model: str, precision: str, one: dict[str, Any], work: Path) -> None:
    """Train one step on passages of exactly so many tokens, the last ones shorter, so that there is padding."""
    draw = random.Random(1)
    rows = [
        {
            "query": text(QUERY_WORDS, draw),
            "pos": [text(one["length"] - 2, draw)],
            "neg": [text(one["length"] - 2 - draw.randrange(9), draw)],
        }
        for _ in range(one["queries"])
    ]
    data = work / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = {"train_batch_size": one["queries"], "train_group_size": one["group"], "max_steps": 1, "save_steps": 0}
    settings = TrainingSettings.checked({**common, "dropout": 0.0, "checkpoint_address": "", **one["settings"]})
    encoding = EncoderSettings.checked({"passage_max_len": one["length"], "query_max_len": 32, "precision": precision})
    before = psutil.Process().memory_info().rss
    forget_peak()
    facts = train(str(data), None, model, str(work / "model"), settings, encoding)
    found = {"extra_gib": (high_water() - before) / 2**30, "seconds": facts["seconds"], "loss": facts["last_loss"]}
    tokens = one["group"] * one["queries"] * one["length"]
    (work / "found.json").write_text(json.dumps(found | {"tokens": tokens, "attention": facts["attention"]}))


if __name__ == "__main__":
    main()
