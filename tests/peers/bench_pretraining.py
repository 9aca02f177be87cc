"""Does pre-training on the corpus help? nDCG@10 after the same fine-tuning, with and without it, on MedQuAD.

``python -m tests.peers.bench_pretraining --help``; what is measured is said in README.md. Every finished training stays
in the work folder, so that an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sharpen
from sharpen.data.dataset import DataSet
from sharpen.store import storage
from tests.peers import machine
from tests.peers.medquad_data import cut, prepared, publish
from tests.peers.results import command, table, write_section
from tests.peers.rounds import Schedule
from tests.peers.rows import ROOT, minilm
from tests.peers.trainings import RESAMPLES, Trainings, budget, rows, shown, versus, work_folder

PLAIN = "fine-tuned only"
METHODS = {"RetroMAE, then fine-tuned": "retromae", "MLM, then fine-tuned": "mlm"}


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    sharpen.enable_logging()
    work = Work(given)
    cells: dict[str, list[np.ndarray]] = {name: [] for name in (PLAIN, *METHODS)}
    only: dict[str, list[np.ndarray]] = {name: [] for name in METHODS}
    schedule = Schedule("trainings", list(cells), given.seeds)
    for seed in range(42, 42 + given.seeds):
        for name in cells:
            start = work.model
            if name in METHODS:
                start = work.pretrained(METHODS[name], seed)
                only[name].append(work.trainings.measured(f"{METHODS[name]}-{seed}", start))
            cells[name].append(work.finetuned(name, start, seed))
            schedule.ended(name, f"seed {seed}, nDCG@10 {cells[name][-1].mean():.4f}")
        write_section(f"Pre-training on the corpus, {given.steps} steps of {given.queries}", report(cells, only, work))


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_pretraining", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--passages", type=int, default=4000, help="of MedQuAD; all are pre-trained on and searched")
    parser.add_argument("--test_queries", type=int, default=600)
    parser.add_argument("--epochs", type=float, default=1.0, help="passes of pre-training")
    parser.add_argument("--max_seq_length", type=int, default=128, help="tokens of a window of pre-training")
    parser.add_argument("--pretraining_rate", type=float, default=2e-5)
    parser.add_argument("--queries", type=int, default=32, help="queries per step")
    parser.add_argument("--group", type=int, default=2, help="passages per query")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--passage_max_len", type=int, default=96)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument(
        "--work", type=Path, default=ROOT / ".sharpen" / "bench-pretraining", help="keeps what is finished"
    )
    given = parser.parse_args()
    given.work = given.work.absolute()
    if min(given.passages, given.test_queries, given.queries, given.group, given.steps, given.seeds) < 1:
        parser.error("numbers must be at least 1")
    return given


class Work:
    """Makes what is asked for, or finds it finished; `given` are the options."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.model = given, str(minilm())
        lengths = {"query_max_len": 32, "passage_max_len": given.passage_max_len, "precision": given.precision}
        facts = [given.passages, given.test_queries, given.queries * given.steps, lengths]
        self.folder = work_folder(given.work, facts)
        data = self.folder / "data"
        if not storage.is_complete(str(data)):
            counts = {"train": given.queries * given.steps, "test": given.test_queries, "passages": given.passages}
            publish(cut(prepared(), **counts, seed=42), data)
        self.data = DataSet.open(str(data))
        self.trainings = Trainings(self.folder, self.data, lengths)

    def pretrained(self, method: str, seed: int) -> str:
        """The base model after pre-training on all passages."""
        given = self.given
        settings: dict[str, Any] = {
            "method": method,
            "num_train_epochs": given.epochs,
            "max_seq_length": given.max_seq_length,
            "learning_rate": given.pretraining_rate,
            "precision": given.precision,
            "seed": seed,
            "save_steps": 0,
        }
        key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
        folder = self.folder / f"pretrained-{key}"
        if not storage.is_complete(str(folder)):
            sharpen.pretrain(self.model, self.data, output=folder, **settings)
        return str(folder)

    def finetuned(self, name: str, start: str, seed: int) -> np.ndarray:
        """nDCG@10 of each test query after fine-tuning a model with random negatives."""
        settings = budget(self.given, self.given.steps, seed)
        return self.trainings.trained(name, start, self.data, None, settings)


def report(cells: dict[str, list[np.ndarray]], only: dict[str, list[np.ndarray]], work: Work) -> str:
    """The section."""
    given, base = work.given, work.trainings.measured("base", work.model)
    lines = [["base model, not trained", f"{base.mean():.4f}", "", shown(versus([base], cells[PLAIN]))]]
    pretrained = {f"{METHODS[name]} alone": runs for name, runs in only.items() if runs}
    lines += rows({**pretrained, **cells}, PLAIN)
    return "\n\n".join(
        [
            f"Machine: {machine.describe(given.threads)}.",
            f"Command: `{command('tests.peers.bench_pretraining')}`.",
            table(["model", "nDCG@10", "by seed", f"minus {PLAIN} (95 % interval)"], lines),
            f"MedQuAD cut to {work.data.corpus.height:,} passages, {len(base):,} test queries. all-MiniLM-L6-v2; "
            f"pre-training: {given.epochs:g} epoch(s) of all passages in windows of {given.max_seq_length} tokens, "
            f"learning rate {given.pretraining_rate:g}; fine-tuning: {given.steps} steps of {given.queries} queries x "
            f"group {given.group} with random negatives, learning rate {given.learning_rate:g}; {given.precision}. "
            f"Intervals: paired bootstrap over the queries ({RESAMPLES:,} resamples) of the means over "
            f"{len(cells[PLAIN])} seeds.",
        ]
    )


if __name__ == "__main__":
    main()
