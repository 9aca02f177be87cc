"""Runs of the real library functions on tiny data, sound or with a fault."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sharpen
from sharpen.diagnosis.artifacts import RunArtifacts, read_artifacts

LENGTHS = {"query_max_len": 16, "passage_max_len": 24}
WORDS = (
    "tree song river moon garden king ship stone bird fire lake road house fish horse book girl door warm early quiet "
    "cold green slow long small deep easy young clean clear full good big low old sugar summer table train travel wall "
    "water wheel window winter wood yellow zero"
).split()


def make_rows(count: int, *, seed: int = 1, subject: str = "what is", filler: int = 8) -> list[dict[str, Any]]:
    """Queries about two words, and passages that hold them among others."""
    rng, seen, rows = random.Random(seed), set(), []
    while len(rows) < count:
        one, other = rng.sample(WORDS, 2)
        if (one, other) in seen:
            continue
        seen.add((one, other))
        passage = " ".join([*rng.sample(WORDS, filler), one, other, one])
        rows.append({"query": f"{subject} {one} {other} {rng.choice(WORDS)}", "pos": [passage]})
    return rows


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class Workshop:
    """Makes the folders of a run below one folder, with one base model."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.model = folder, str(model)

    def prepare(self, name: str, rows: list[dict[str, Any]], test: Iterable[dict[str, Any]] = (), **given: Any) -> str:
        """A prepared data set; `test` becomes its test queries."""
        files = [write(self.folder / name / f"{role}.jsonl", some) for role, some in (("train", rows), ("test", test))]
        settings = {"tokenizer": self.model, "test_share": 0.3, "dev_share": 0.1, **LENGTHS, **given}
        output = self.folder / name / "data"
        sharpen.load_dataset(files[0], eval_data=files[1] if files[1].read_text() else (), output=output, **settings)
        return str(output)

    def mine(self, name: str, data: str, **given: Any) -> str:
        output = self.folder / name / "negatives"
        sharpen.mine_hard_negatives(data, self.model, output=output, **{"negative_number": 4, **LENGTHS, **given})
        return str(output)

    def measure(self, name: str, data: str, model: str = "", base: str = "", **given: Any) -> str:
        output = self.folder / name / "evaluation"
        lengths = {} if model else LENGTHS
        settings = {"resamples": 500, **lengths, **given}
        sharpen.evaluate(model or self.model, data, base=base or None, output=output, **settings)
        return str(output)

    def train(self, name: str, data: str, negatives: str | None, **given: Any) -> str:
        output = self.folder / name / "model"
        settings = {"train_batch_size": 16, "train_group_size": 3, "temperature": 0.05, "learning_rate": 1e-3}
        settings |= {"max_steps": 2, "logging_steps": 1, **LENGTHS, **given}
        sharpen.finetune(self.model, data, negatives, output=output, **settings)
        return str(output)

    def run(self, name: str, data: str, negatives: str | None, base: str, **given: Any) -> RunArtifacts:
        """Trained with these settings, measured, and read."""
        model = self.train(name, data, negatives, **given)
        return read_artifacts(self.measure(name, data, model, base))
