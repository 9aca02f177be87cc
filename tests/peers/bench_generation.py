"""What queries from a language model are worth: nDCG@10 on people's test queries after training on generated queries,
and after the same training on as many queries that people labelled.

``python -m tests.peers.bench_generation --help``; what is measured is said in README.md. Answers of the language model
and every finished training stay in the work folder, so that an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import sharpen
from sharpen.data.dataset import QRELS, DataSet
from sharpen.generation.settings import GenerationSettings
from sharpen.store import storage
from tests.peers import machine
from tests.peers.medquad_data import cut
from tests.peers.results import command, table, write_section
from tests.peers.rounds import Schedule
from tests.peers.rows import ROOT, collection, minilm
from tests.peers.trainings import RESAMPLES, Trainings, budget, rows, shown, versus, work_folder

GENERATED, LABELLED = "generated queries", "people's queries, as many"


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    sharpen.enable_logging()
    work = Work(given)
    cells: dict[str, list[np.ndarray]] = {GENERATED: [], LABELLED: []}
    schedule = Schedule("trainings", list(cells), given.seeds)
    for seed in range(42, 42 + given.seeds):
        for name, data in ((GENERATED, work.generated), (LABELLED, work.labelled)):
            cells[name].append(work.trained(name, data, seed))
            schedule.ended(name, f"seed {seed}, nDCG@10 {cells[name][-1].mean():.4f}")
        write_section(f"Queries from documents, {given.data.rpartition(':')[2]}", report(cells, work))


def arguments() -> argparse.Namespace:
    """The options, checked."""
    defaults = GenerationSettings.checked({})
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_generation", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", default="medquad", help="a folder of $SHARPEN_TEST_DATA, or as train_data")
    parser.add_argument("--passages", type=int, default=2500, help="size of the corpus")
    parser.add_argument("--documents", type=int, default=600, help="passages of it that queries are written for")
    parser.add_argument("--test_queries", type=int, default=600)
    parser.add_argument("--endpoint", default=defaults.endpoint, help="of the language model")
    parser.add_argument("--model", default=defaults.model, help="language model")
    parser.add_argument("--styles", default=",".join(defaults.styles))
    parser.add_argument("--queries_per_style", type=int, default=defaults.queries_per_style)
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--queries", type=int, default=32, help="queries per step")
    parser.add_argument("--group", type=int, default=2, help="passages per query")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    parser.add_argument("--passage_max_len", type=int, default=96)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument(
        "--work", type=Path, default=ROOT / ".sharpen" / "bench-generation", help="keeps what is finished"
    )
    given = parser.parse_args()
    given.work = given.work.absolute()
    if min(given.passages, given.documents, given.test_queries, given.queries, given.group, given.seeds) < 1:
        parser.error("numbers must be at least 1")
    return given


class Work:
    """Makes what is asked for, or finds it finished; `given` are the options."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.model = given, str(minilm())
        self.lengths = {"query_max_len": 32, "passage_max_len": given.passage_max_len, "precision": given.precision}
        keys = ("data", "passages", "documents", "test_queries", "model", "styles", "queries_per_style")
        facts = [[getattr(given, name) for name in keys], self.lengths]
        self.folder = work_folder(given.work, facts)
        named = collection(given.data)
        whole = self.folder / "whole"
        if not storage.is_complete(str(whole)):
            sharpen.load_dataset(str(named) if named.is_dir() else given.data, output=whole)
        self.tested = cut(DataSet.open(str(whole)), train=0, test=given.test_queries, passages=given.passages, seed=42)
        self.report = self._generate()
        made = DataSet.open(str(self.folder / "generated"))
        counted = made.queries.height
        self.generated = self._with_corpus(made.queries, made.qrels)
        people = cut(DataSet.open(str(whole)), train=counted, test=0, passages=None, seed=43)
        self.labelled = replace(people, given_negatives=people.given_negatives.clear())
        self.trainings = Trainings(self.folder, self.tested, self.lengths)
        self.steps = max(1, round(given.epochs * counted / given.queries))

    def _generate(self) -> dict[str, Any]:
        """Queries for a sample of the passages that are searched; nobody sees the test queries."""
        given, output = self.given, self.folder / "generated"
        if not storage.is_complete(str(output)):
            passages = self.folder / "passages.jsonl"
            texts = self.tested.corpus.select(_id="passage_id", title="title", text="text")
            texts.write_ndjson(passages)
            settings = {
                "endpoint": given.endpoint,
                "model": given.model,
                "styles": given.styles,
                "queries_per_style": given.queries_per_style,
                "max_passages": given.documents,
                "concurrency": given.concurrency,
                "journal": str(self.folder / "journal"),
            }
            sharpen.generate_queries(passages, base_model=self.model, output=output, **settings, **self.lengths)
        return storage.read_json(f"{output}/report.json")

    def _with_corpus(self, queries: pl.DataFrame, qrels: pl.DataFrame) -> DataSet:
        known = qrels.join(self.tested.corpus, on="passage_id", how="semi").select(list(QRELS))
        return DataSet(self.tested.corpus, queries.join(known, on="query_id", how="semi"), known)

    def trained(self, name: str, data: DataSet, seed: int) -> np.ndarray:
        """nDCG@10 of each test query after training on queries of one kind, with random negatives."""
        settings = budget(self.given, self.steps, seed)
        return self.trainings.trained(name, self.model, data, None, settings)


def report(cells: dict[str, list[np.ndarray]], work: Work) -> str:
    """The section."""
    given, base = work.given, work.trainings.measured("base", work.model)
    against = {name: shown(versus(runs, [base])) for name, runs in cells.items()}
    lines = [["base model, not trained", f"{base.mean():.4f}", "", shown(versus([base], cells[LABELLED])), ""]]
    lines += [[*row, against[row[0]]] for row in rows(cells, LABELLED)]
    written, left_out = work.report["queries"], work.report["left_out"]
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items() if count)
    return "\n\n".join(
        [
            f"Machine: {machine.describe(given.threads)}.",
            f"Command: `{command('tests.peers.bench_generation')}`.",
            table(
                ["trained on", "nDCG@10", "by seed", f"minus {LABELLED} (95 % interval)", "minus the base model"], lines
            ),
            f"{given.data}: {work.tested.corpus.height:,} passages, {len(base):,} test queries of people. "
            f"{given.model.rpartition('/')[2]} wrote {written['written']:,} queries for {given.documents:,} of the "
            f"passages, without any example; {work.generated.queries.height:,} passed the filters (left out: "
            f"{reasons or 'none'}). People's queries are of the training split, whose topics the test queries do not "
            f"have. all-MiniLM-L6-v2, {work.steps} steps of {given.queries} queries x group {given.group} with random "
            f"negatives, learning rate {given.learning_rate:g}, {given.precision}. Intervals: paired bootstrap over "
            f"the queries ({RESAMPLES:,} resamples) of the means over {len(cells[LABELLED])} seeds.",
        ]
    )


if __name__ == "__main__":
    main()
