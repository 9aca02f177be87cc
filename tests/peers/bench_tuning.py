"""Does a search for settings help? nDCG@10 on test queries after training with what it chose on dev, and with defaults.

``python -m tests.peers.bench_tuning --help``; what is measured is said in README.md. The search and every finished
training stay in the work folder, so that an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sharpen
from sharpen.api.results import TuningResult
from sharpen.data.dataset import DataSet
from sharpen.store import storage
from tests.peers import machine
from tests.peers.medquad_data import cut, publish
from tests.peers.results import command, table, write_section
from tests.peers.rounds import Schedule
from tests.peers.rows import ROOT, minilm, present_collection
from tests.peers.trainings import RESAMPLES, Trainings, rows, shown, versus, work_folder

DEFAULT, CHOSEN = "default settings", "settings of the search"
SPACE = {"training.learning_rate": "5e-6..3e-4:log", "training.temperature": "0.01..0.1:log"}
"""Of the default space what changes no training's cost."""


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    sharpen.enable_logging()
    work = Work(given)
    found = work.search()
    cells: dict[str, list[np.ndarray]] = {DEFAULT: [], CHOSEN: []}
    schedule = Schedule("trainings", list(cells), given.seeds)
    # the search's own seed is 42
    for seed in range(43, 43 + given.seeds):
        for name, settings in ((DEFAULT, {}), (CHOSEN, found.best["training"])):
            cells[name].append(work.trained(name, settings, seed))
            schedule.ended(name, f"seed {seed}, nDCG@10 {cells[name][-1].mean():.4f}")
        title = f"Search for settings, {given.data}, {given.trials} trials of {given.steps} steps"
        write_section(title, report(cells, found, work))


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_tuning", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", default="tldr", help="a folder of $SHARPEN_TEST_DATA")
    parser.add_argument("--passages", type=int, default=2000, help="in which the test queries search")
    parser.add_argument("--test_queries", type=int, default=600)
    parser.add_argument("--dev_queries", type=int, default=200, help="by which the search chooses")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--evaluations", type=int, default=2, help="looks at dev of a trial")
    parser.add_argument("--queries", type=int, default=32, help="queries per step")
    parser.add_argument("--group", type=int, default=2, help="passages per query")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--passage_max_len", type=int, default=64)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument("--work", type=Path, default=ROOT / ".sharpen" / "bench-tuning", help="keeps what is finished")
    given = parser.parse_args()
    given.work = given.work.absolute()
    counts = (given.passages, given.test_queries, given.dev_queries, given.trials, given.evaluations, given.seeds)
    if min(*counts, given.queries, given.group, given.steps) < 1:
        parser.error("numbers must be at least 1")
    return given


class Work:
    """Makes what is asked for, or finds it finished; `given` are the options."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.model = given, str(minilm())
        lengths = {"query_max_len": 32, "passage_max_len": given.passage_max_len, "precision": given.precision}
        counts = [given.queries * given.steps, given.dev_queries, given.test_queries, given.passages]
        facts = [given.data, counts, lengths]
        self.folder = work_folder(given.work, facts)
        if not storage.is_complete(str(self.folder / "test")):
            self._cut(*counts)
        self.data = DataSet.open(str(self.folder / "train"))
        self.trainings = Trainings(self.folder, DataSet.open(str(self.folder / "test")), lengths)
        self.lengths = lengths

    def _cut(self, train: int, dev: int, test: int, passages: int) -> None:
        """What the search sees, with train and dev, and what it never sees, with test."""
        whole = sharpen.load_dataset(present_collection(self.given.data))
        seen = cut(whole, train=train, dev=dev, test=0, passages=passages, seed=42)
        publish(seen, self.folder / "train")
        publish(cut(whole, train=0, test=test, passages=passages, seed=42), self.folder / "test")

    @property
    def budget(self) -> dict[str, Any]:
        """Of a training, without what is searched and without a seed."""
        given = self.given
        sizes = {"train_batch_size": given.queries, "train_group_size": given.group, "max_steps": given.steps}
        return {**sizes, "save_steps": 0}

    def search(self) -> TuningResult:
        """What a search on dev gives, with random negatives as in the trainings after it."""
        given = self.given
        settings = {"trials": given.trials, "evaluations": given.evaluations, "repeats": 0, "enabled": False}
        folder = self.folder / f"search-{given.trials}-{given.evaluations}"
        return sharpen.tune(
            self.model, self.data, space=SPACE, output=folder, **settings, **self.budget, **self.lengths
        )

    def trained(self, name: str, settings: dict[str, Any], seed: int) -> np.ndarray:
        """nDCG@10 of each test query after a training with a seed that the search did not use."""
        chosen = {**self.budget, **settings, "seed": seed}
        del chosen["save_steps"]
        return self.trainings.trained(name, self.model, self.data, None, chosen)


def report(cells: dict[str, list[np.ndarray]], found: TuningResult, work: Work) -> str:
    """The section."""
    given, base = work.given, work.trainings.measured("base", work.model)
    lines = [["base model, not trained", f"{base.mean():.4f}", "", shown(versus([base], cells[DEFAULT]))]]
    lines += rows(cells, DEFAULT)
    ended = sum(trial["state"] == "complete" for trial in found.trials)
    minutes = sum(trial["seconds"] for trial in found.trials) / 60
    start = next(trial for trial in found.trials if trial["number"] == 0)
    values = "; ".join(
        f"{name} {found.best['training'][name]:.3g} (default {start[f'training.{name}']:.3g})"
        for name in found.best["training"]
    )
    return "\n\n".join(
        [
            f"Machine: {machine.describe(given.threads)}.",
            f"Command: `{command('tests.peers.bench_tuning')}`.",
            table(["settings", "nDCG@10 on test", "by seed", f"minus {DEFAULT} (95 % interval)"], lines),
            f"The search: {len(found.trials)} trials, {ended} of them to the end, {minutes:.0f} minutes; the best has "
            f"{found.score:.4f} on dev, the default {start['score'] or 0:.4f}: {values}. Searched: "
            f"{', '.join(f'{name} {bounds}' for name, bounds in SPACE.items())}; successive halving at "
            f"{given.evaluations} looks at {given.dev_queries:,} dev queries.",
            f"{given.data}: {given.test_queries:,} test queries in {given.passages:,} passages, no query of which a "
            f"trial has seen. all-MiniLM-L6-v2; every training {given.steps} steps of {given.queries} queries x group "
            f"{given.group} with random negatives, {given.precision}, with seeds that the search did not use. "
            f"Intervals: paired bootstrap over the queries ({RESAMPLES:,} resamples) of the means over "
            f"{len(cells[DEFAULT])} seed(s).",
        ]
    )


if __name__ == "__main__":
    main()
