"""Gain and forgetting by weight: short trainings on three data sets, merged with their base model.

``python -m tests.peers.bench_merging --help``; what is measured is said in README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import sharpen
from sharpen.data.dataset import DataSet
from sharpen.evaluation.significance import Paired
from sharpen.merging.search import choose
from sharpen.merging.settings import MergingSettings
from sharpen.reports.formatting import number
from sharpen.store import storage
from sharpen.version import code_version
from tests.peers import machine
from tests.peers.medquad_data import publish
from tests.peers.results import command, table, write_section
from tests.peers.rows import ROOT, minilm, stop
from tests.peers.trainings import METRIC, change, versus

DATA = ("squad-small", "tldr", "medquad")
BOUND = 0.005
"""Most that the model of the default rule may lose on test against the tuned one, for the default to be on."""

Cell = dict[str, list[float]]
"""``dev``, ``test`` and ``guard`` -> the metric of each query."""


def main() -> None:
    given = arguments()
    work = Work(given)
    for seed in range(42, 42 + given.seeds):
        for name in given.data:
            for weight in given.weights:
                work.cell(name, seed, weight)
                print(f"{name}, seed {seed}, weight {weight:g}: done", flush=True)
        write_section(f"Merging with the base model, {given.steps} steps of {given.queries}", report(work, seed - 41))


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_merging", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--weights", nargs="+", type=float, default=[0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    parser.add_argument("--seeds", type=int, default=3, help="trainings on each data set, with seeds 42, 43 ...")
    parser.add_argument("--steps", type=int, default=35, help="steps of a training")
    parser.add_argument("--queries", type=int, default=32, help="queries per step")
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--passages", type=int, default=1500, help="size of each corpus")
    parser.add_argument("--test_queries", type=int, default=300, help="and as many of dev, at most")
    parser.add_argument("--passage_max_len", type=int, default=96, help="tokens")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--work", type=Path, default=ROOT / ".sharpen" / "bench-merging", help="keeps what is finished")
    given = parser.parse_args()
    given.weights = sorted({0.0, 1.0, *given.weights})
    return given


class Work:
    """Makes what is asked for, or finds it finished in the work folder; `given` are the options."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        given.work.mkdir(parents=True, exist_ok=True)
        decisive = {
            name: value for name, value in vars(given).items() if name not in ("work", "seeds", "data", "weights")
        }
        facts = json.dumps([decisive, code_version("sharpen.merging.merge", "sharpen.training.train")], sort_keys=True)
        self.name = hashlib.sha256(facts.encode()).hexdigest()[:10]
        self.lengths = {"query_max_len": 32, "passage_max_len": given.passage_max_len, "precision": given.precision}

    def path(self, *parts: object) -> Path:
        """Of what was made from these parts."""
        return self.given.work / "-".join([self.name, *map(str, parts)])

    def data(self, name: str) -> Path:
        """A part of a data set with dev and test queries."""
        folder = self.path(name, "data")
        if not storage.is_complete(str(folder)):
            source = Path(os.environ.get("SHARPEN_TEST_DATA", ROOT.parent / "shared" / "data")) / name
            if not source.is_dir():
                stop(f"{source} is not there; set SHARPEN_TEST_DATA to the folder that holds {name}")
            shutil.rmtree(folder, ignore_errors=True)
            publish(cut(sharpen.load_dataset(source), self.given), folder)
        return folder

    def tuned(self, name: str, seed: int) -> Path:
        """The tuned model."""
        folder = self.path(name, seed, "model")
        if not storage.is_complete(str(folder)):
            shutil.rmtree(folder, ignore_errors=True)
            training = {"max_steps": self.given.steps, "train_batch_size": self.given.queries, "train_group_size": 2}
            training |= {"learning_rate": self.given.learning_rate, "seed": seed, "dropout": 0.0, "save_steps": 0}
            sharpen.finetune(str(minilm()), self.data(name), output=folder, **training, **self.lengths)
        return folder

    def cell(self, name: str, seed: int, weight: float) -> Cell:
        """The figures of the model of a weight."""
        # the base model is the same for all seeds
        run = "base" if weight == 0 else f"{seed}-{weight:g}"
        file = self.path(name, f"{run}.json")
        if not file.is_file():
            merged = sharpen.merge_models(self.tuned(name, seed), base=str(minilm()), weights=[weight])
            found = sharpen.evaluate(
                merged, self.data(name), guard_data="general", resamples=100, vector_cache="off", cutoffs=[10, 100],
                headline_metrics=[METRIC],
            )  # fmt: skip
            parts = {"test": "per_query", "dev": "dev_per_query", "guard": "guard_per_query"}
            cell = {
                part: pl.read_parquet(Path(found.folder) / f"{table}.parquet").sort("query_id")[METRIC].to_list()
                for part, table in parts.items()
            }
            file.write_text(json.dumps(cell))
        return json.loads(file.read_text())


def cut(data: DataSet, given: argparse.Namespace) -> DataSet:
    """Random queries of each split and their passages, and random others."""
    draw = np.random.default_rng(42)
    counts = {"train": given.steps * given.queries, "dev": given.test_queries, "test": given.test_queries}
    queries = pl.concat([sample(data.queries_of(split), count, draw) for split, count in counts.items()])
    qrels = data.qrels.join(queries, on="query_id", how="semi")
    searched = qrels.filter(pl.col("split") != "train")
    # training brings its own passages; what is searched is as large as asked for
    needed, rest = (data.corpus.join(searched, on="passage_id", how=how) for how in ("semi", "anti"))
    trained = rest.join(qrels, on="passage_id", how="semi")
    others = sample(
        rest.join(qrels, on="passage_id", how="anti"), given.passages - needed.height - trained.height, draw
    )
    return DataSet(pl.concat([needed, trained, others]).sort("passage_id"), queries.sort("query_id"), qrels)


def sample(rows: pl.DataFrame, count: int, draw: np.random.Generator) -> pl.DataFrame:
    """So many rows at random, all where there are fewer."""
    chosen = draw.permutation(rows.height)[: max(0, count)]
    return rows[np.sort(chosen)]


def report(work: Work, seeds: int) -> str:
    """The section: a table by weight, what the rules would take, and whether the default should be on."""
    given = work.given
    lines = [
        f"{machine.describe(1)}. all-MiniLM-L6-v2, {given.steps} steps of {given.queries} queries with one random "
        f"negative each, rate {given.learning_rate:g}, {given.precision}, {seeds} seed(s); corpora of about "
        f"{given.passages:,} passages or more, at most {given.test_queries} queries of dev and of test; guard set: "
        f"general, which comes with Sharpen. nDCG@10; intervals of 95 % over queries, each one's mean over the "
        f"seeds. `{command('tests.peers.bench_merging')}`",
        "",
    ]
    rows, verdicts = [], []
    for name in given.data:
        cells = {weight: [work.cell(name, seed, weight) for seed in range(42, 42 + seeds)] for weight in given.weights}
        for weight in given.weights:
            parts = {part: difference(cells[weight], cells[0.0], part) for part in ("dev", "test", "guard")}
            shown = [f"{number(parts['test'].candidate)}", *(change(parts[part]) for part in ("dev", "test", "guard"))]
            rows.append([f"{name}, {weight:g}", *shown])
        taken = [chosen(cells, run, MergingSettings.checked({})) for run in range(seeds)]
        picked = [cells[weight][run] for run, weight in enumerate(taken)]
        on_test, on_guard = (difference(picked, cells[1.0], part) for part in ("test", "guard"))
        by_mean = [chosen(cells, run, MergingSettings.checked({"rule": "mean"})) for run in range(seeds)]
        verdicts.append(on_test.difference >= -BOUND and on_guard.ci_low > 0)
        lines.append(
            f"- {name}: the default rule takes {', '.join(f'{w:g}' for w in taken)} (`mean`: "
            f"{', '.join(f'{w:g}' for w in by_mean)}); against the tuned model {change(on_test)} on test, "
            f"{change(on_guard)} on the guard set."
        )
    rule = (
        f"Default on if on all three data sets the model of the default rule loses at most {number(BOUND)} on test "
        "against the tuned one and the interval of its change on the guard set is above 0"
    )
    holds = len(given.data) == len(DATA) and all(verdicts)
    lines += ["", f"{rule}: {'holds' if holds else 'does not hold'} ({sum(verdicts)} of {len(DATA)}).", ""]
    return "\n".join([*lines, table(["data, weight", "test", "dev: gain", "test: gain", "guard set: change"], rows)])


def chosen(cells: Mapping[float, Sequence[Cell]], run: int, settings: MergingSettings) -> float:
    """The weight that the rule takes in one run, by dev and guard set."""
    base = cells[0.0][run]
    measured: list[dict[str, Any]] = []
    for weight in cells:
        row: dict[str, Any] = {"weight": weight}
        for part in ("dev", "guard"):
            value = float(np.mean(cells[weight][run][part]))
            row[part] = {"candidate": value, "difference": value - float(np.mean(base[part]))}
        measured.append(row)
    return choose(measured, settings, METRIC)[0]


def difference(candidates: Sequence[Cell], references: Sequence[Cell], part: str) -> Paired:
    """Of the mean over the seeds, query by query."""
    one, two = ([np.asarray(cell[part]) for cell in cells] for cells in (references, candidates))
    return versus(two, one)


if __name__ == "__main__":
    main()
