"""Trainings and the nDCG@10 of their models, each kept once it is finished, for benchmarks that compare recipes."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import sharpen
from sharpen.data.dataset import DataSet
from sharpen.evaluation.significance import Paired, paired
from sharpen.reports.formatting import signed
from sharpen.store import storage
from sharpen.version import code_version

METRIC, RESAMPLES = "ndcg_at_10", 10_000


def budget(given: argparse.Namespace, steps: int, seed: int) -> dict[str, Any]:
    """The settings of a training of so many `steps` with a `seed`; `given` are the options of a benchmark."""
    return {
        "train_batch_size": given.queries,
        "train_group_size": given.group,
        "max_steps": steps,
        "learning_rate": given.learning_rate,
        "seed": seed,
    }


def work_folder(root: Path, facts: Sequence[Any]) -> Path:
    """The folder in `root` for what these facts and the code decide; it is made.

    Args:
        root: keeps what is finished.
        facts: all that decides the data and what is measured, as JSON has it.
    """
    key = hashlib.sha256(json.dumps([*facts, code_version()]).encode()).hexdigest()[:12]
    folder = root / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Trainings:
    """Trains and measures, or finds it finished.

    Args:
        folder: what is finished stays in it.
        tested: has the test queries and all passages that are searched.
        lengths: settings of every encoder: lengths, precision.
        variants: sizes of vectors (`evaluation.variants`) in which every model is measured too.
    """

    def __init__(self, folder: Path, tested: DataSet, lengths: Mapping[str, Any], variants: Sequence[str] = ()) -> None:
        self.folder, self.tested, self.lengths, self.variants = folder, tested, dict(lengths), list(variants)

    def trained(
        self,
        name: str,
        model: str,
        data: DataSet,
        negatives: str | None,
        settings: Mapping[str, Any],
        *,
        variant: str = "",
    ) -> np.ndarray:
        """nDCG@10 of each test query by a model that is trained.

        Args:
            name: of the recipe.
            model, data, negatives: what is trained on what.
            settings: of the training.
            variant: as for `measured`.
        """
        facts = [name, model, negatives, dict(settings), self.lengths]
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        if not storage.is_complete(str(self.folder / f"evaluation-{key}")):
            folder = self.folder / f"model-{key}"
            sharpen.finetune(model, data, negatives, output=folder, save_steps=0, **{**settings, **self.lengths})
            self.measured(key, str(folder))
            shutil.rmtree(folder)
        return self.measured(key, "", variant)

    def measured(self, key: str, model: str, variant: str = "") -> np.ndarray:
        """nDCG@10 of each test query, in the order of their ids.

        Args:
            key: names the evaluation.
            model: not needed where it is finished.
            variant: one of the variants; empty: the vectors in full.
        """
        folder = self.folder / f"evaluation-{key}"
        if not storage.is_complete(str(folder)):
            sharpen.evaluate(model, self.tested, output=folder, resamples=100, variants=self.variants, **self.lengths)
        table = pl.read_parquet(folder / ("variants_per_query.parquet" if variant else "per_query.parquet"))
        chosen = table.filter(pl.col("variant") == variant) if variant else table
        return chosen.sort("query_id")[METRIC].to_numpy()


def versus(candidate: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> Paired:
    """The paired difference over the queries, each query's scores averaged over the seeds first."""
    columns = [np.mean(runs, axis=0)[:, None] for runs in (reference, candidate)]
    return paired(*columns, resamples=RESAMPLES, confidence_level=0.95, seed=42)[0]


def shown(found: Paired) -> str:
    """A difference with its interval."""
    return f"{found.difference:+.4f} ({found.ci_low:+.4f} to {found.ci_high:+.4f})"


def change(found: Paired) -> str:
    """The same with three digits, as reports write it."""
    return f"{signed(found.difference)} [{signed(found.ci_low)}, {signed(found.ci_high)}]"


def rows(cells: Mapping[str, Sequence[np.ndarray]], reference: str) -> list[list[str]]:
    """A row of a table for each recipe: name, mean, mean of each seed, difference to the `reference`."""
    return [
        [
            name,
            f"{np.mean(runs):.4f}",
            ", ".join(f"{run.mean():.4f}" for run in runs),
            "" if name == reference else shown(versus(runs, cells[reference])),
        ]
        for name, runs in cells.items()
    ]
