"""Does training for the size that is served help? nDCG@10 in full and at sizes of the index after the same training.

``python -m tests.peers.bench_served_size --help``; what is measured is said in README.md. Every finished training stays
in the work folder, so that an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sharpen
from sharpen.data.dataset import DataSet
from sharpen.index.sizes import parse_variants
from sharpen.store import storage
from tests.peers import machine
from tests.peers.medquad_data import cut, publish
from tests.peers.results import command, table, write_section
from tests.peers.rounds import Schedule
from tests.peers.rows import ROOT, minilm, present_collection
from tests.peers.trainings import RESAMPLES, Trainings, budget, shown, versus, work_folder

PLAIN, PREFIX, SERVED = "fine-tuned", "with the dimensions", "for the size"
FULL = ""

Cells = dict[str, list[dict[str, np.ndarray]]]
"""Training -> for each seed: size (`FULL` or a variant) -> nDCG@10 of each test query."""


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    sharpen.enable_logging()
    work = Work(given)
    recipes = recipes_of(given.sizes)
    cells: Cells = {name: [] for name in recipes}
    schedule = Schedule("trainings", list(recipes), given.seeds)
    for seed in range(42, 42 + given.seeds):
        for name, settings in recipes.items():
            cells[name].append(work.trained(name, settings, seed))
            schedule.ended(name, f"seed {seed}, nDCG@10 in full {cells[name][-1][FULL].mean():.4f}")
        write_section(
            f"The size that is served, {given.data}, {given.steps} steps of {given.queries}", report(cells, work)
        )


def recipes_of(sizes: list[str]) -> dict[str, dict[str, Any]]:
    """Name of each training -> its settings; two sizes of equal dimensions share that with these dimensions."""
    recipes: dict[str, dict[str, Any]] = {PLAIN: {}}
    for size in parse_variants(sizes):
        if size.dimension:
            recipes[named(PREFIX, f"dim:{size.dimension}")] = {"matryoshka_dims": [size.dimension]}
        if size.precision != "fp32":
            recipes[named(SERVED, size.name)] = {"served_size": size.name}
    return recipes


def named(kind: str, size: str) -> str:
    """A training as the tables name it."""
    return f"{PLAIN} {kind}, {size}"


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_served_size", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", default="tldr", help="a folder of $SHARPEN_TEST_DATA")
    parser.add_argument("--sizes", nargs="+", default=["dim:128+int8", "dim:128+binary"])
    parser.add_argument("--passages", type=int, default=2000, help="that are searched")
    parser.add_argument("--test_queries", type=int, default=600)
    parser.add_argument("--queries", type=int, default=32, help="queries per step")
    parser.add_argument("--group", type=int, default=2, help="passages per query")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--passage_max_len", type=int, default=64)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument(
        "--work", type=Path, default=ROOT / ".sharpen" / "bench-served-size", help="keeps what is finished"
    )
    given = parser.parse_args()
    given.work = given.work.absolute()
    if min(given.passages, given.test_queries, given.queries, given.group, given.steps, given.seeds) < 1:
        parser.error("numbers must be at least 1")
    try:
        parse_variants(given.sizes)
    except ValueError as error:
        parser.error(f"--sizes: {error}")
    return given


class Work:
    """Makes what is asked for, or finds it finished; `given` are the options."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.model = given, str(minilm())
        lengths = {"query_max_len": 32, "passage_max_len": given.passage_max_len, "precision": given.precision}
        train = given.queries * given.steps
        facts = [given.data, train, given.test_queries, given.passages, given.sizes, lengths]
        folder = work_folder(given.work, facts)
        if not storage.is_complete(str(folder / "test")):
            whole = sharpen.load_dataset(present_collection(given.data))
            publish(cut(whole, train=train, test=0, passages=2 * train, seed=42), folder / "train")
            publish(cut(whole, train=0, test=given.test_queries, passages=given.passages, seed=42), folder / "test")
        self.data = DataSet.open(str(folder / "train"))
        self.trainings = Trainings(folder, DataSet.open(str(folder / "test")), lengths, given.sizes)

    def trained(self, name: str, settings: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
        """Size -> nDCG@10 of each test query after a training with random negatives; each model is measured once."""
        chosen = budget(self.given, self.given.steps, seed) | settings
        return {
            size: self.trainings.trained(name, self.model, self.data, None, chosen, variant=size)
            for size in (FULL, *self.given.sizes)
        }

    def base(self) -> dict[str, np.ndarray]:
        """The same of the model before training."""
        return {size: self.trainings.measured("base", self.model, size) for size in (FULL, *self.given.sizes)}


def report(cells: Cells, work: Work) -> str:
    """The section: a table for each size, and what training for it comes to."""
    given, base = work.given, work.base()
    tables = []
    for size in parse_variants(given.sizes):
        names = [PLAIN, named(PREFIX, f"dim:{size.dimension}"), named(SERVED, size.name)]
        compared: Cells = {"base model, not trained": [base]} | {name: cells[name] for name in names if name in cells}
        head = [
            size.name, "at the size", "by seed", f"minus {PLAIN}, at the size", "in full", f"minus {PLAIN}, in full",
            "in full to the size",
        ]  # fmt: skip
        tables.append(table(head, [row(name, runs, cells[PLAIN], size.name) for name, runs in compared.items()]))
        if set(names) <= set(cells):
            trained, prefix = ([run[size.name] for run in cells[name]] for name in (names[2], names[1]))
            tables.append(f"`{SERVED}` minus `{PREFIX}`, {size.name} at the size: {shown(versus(trained, prefix))}.")
    return "\n\n".join(
        [
            f"Machine: {machine.describe(given.threads)}.",
            f"Command: `{command('tests.peers.bench_served_size')}`.",
            *tables,
            f"nDCG@10 of {len(base[FULL]):,} test queries in {given.passages:,} passages of {given.data}; passages are "
            "stored and read back as the index does (`evaluation.variants`), queries cut to the dimensions. "
            f"all-MiniLM-L6-v2 (384 dimensions); {given.steps} steps of {given.queries} queries x group {given.group} "
            f"with random negatives, learning rate {given.learning_rate:g}, {given.precision}. `{PREFIX}`: "
            f"`training.matryoshka_dims`; `{SERVED}`: `training.served_size`, which has a term for the dimensions too. "
            f"Intervals of 95 %: paired bootstrap over the queries ({RESAMPLES:,} resamples) of the means over "
            f"{len(cells[PLAIN])} seed(s).",
        ]
    )


def row(name: str, runs: list[dict[str, np.ndarray]], plain: list[dict[str, np.ndarray]], size: str) -> list[str]:
    """A line of a size's table."""
    of = {where: [run[where] for run in runs] for where in (FULL, size)}
    gains = ["" if runs is plain else shown(versus(of[where], [run[where] for run in plain])) for where in of]
    means = {where: f"{np.mean(values):.4f}" for where, values in of.items()}
    by_seed = ", ".join(f"{run.mean():.4f}" for run in of[size]) if len(runs) > 1 else ""
    return [name, means[size], by_seed, gains[1], means[FULL], gains[0], shown(versus(of[size], of[FULL]))]


if __name__ == "__main__":
    main()
