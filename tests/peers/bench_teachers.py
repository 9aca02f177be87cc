"""Do teachers, a margin for in-batch negatives or a guide model help? nDCG@10 after the same training, three seeds.

``python -m tests.peers.bench_teachers --help``; what is measured is said in README.md. Every finished training stays in
the work folder, so that an interrupted benchmark goes on where it was.
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
from sharpen.data.dataset import OF_PAIRS, DataSet
from sharpen.store import storage
from tests.peers import machine
from tests.peers.medquad_data import cut
from tests.peers.results import command, table, write_section
from tests.peers.rounds import Schedule
from tests.peers.rows import ROOT, collection, minilm
from tests.peers.teacher_work import train_cross_encoder
from tests.peers.trainings import RESAMPLES, Trainings, budget, rows, shown, versus, work_folder

PLAIN = "InfoNCE alone"


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    sharpen.enable_logging()
    work = Work(given)
    print("data, teacher, negatives and their scores", flush=True)
    ways = {name: way for name, way in work.ways().items() if not given.ways or name in (PLAIN, *given.ways)}
    untrained = work.untrained()
    cells: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    schedule = Schedule("trainings", list(ways), given.seeds)
    for seed in range(42, 42 + given.seeds):
        for name, way in ways.items():
            cells[name].append(work.trained(name, way, seed))
            schedule.ended(name, f"seed {seed}, nDCG@10 {cells[name][-1].mean():.4f}")
        by = "" if given.embedding_model else " by a cross-encoder"
        title = f"Teachers and false negatives{by}, {given.steps} steps of {given.queries}"
        write_section(title, report(cells, untrained, work))


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_teachers", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", default="squad-small", help="a folder of $SHARPEN_TEST_DATA, or as train_data")
    parser.add_argument("--train_queries", type=int, default=2000, help="half of them teach the cross-encoder")
    parser.add_argument("--test_queries", type=int, default=300)
    parser.add_argument("--passages", type=int, default=None, help="that are searched; unset: all of the data")
    parser.add_argument("--queries", type=int, default=32, help="queries per step")
    parser.add_argument("--group", type=int, default=4, help="passages per query, but for the listwise recipe's 20")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--teacher_steps", type=int, default=150, help="steps of the cross-encoder, of 32 pairs")
    parser.add_argument("--passage_max_len", type=int, default=128)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=[], help="only these, beside InfoNCE alone")
    parser.add_argument("--cross_encoder", default="", help="a ready one; empty: one is trained from the base model")
    parser.add_argument("--embedding_model", default="", help="a larger one as the teacher, instead of a cross-encoder")
    parser.add_argument("--embedding_temperature", type=float, default=0.05, help="what it was trained with")
    parser.add_argument("--guide", default="", help="guide model; empty: the base model")
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument(
        "--work", type=Path, default=ROOT / ".sharpen" / "bench-teachers", help="keeps what is finished"
    )
    given = parser.parse_args()
    given.work = given.work.absolute()
    least = {"train_queries": 20, "test_queries": 10, "queries": 2, "group": 2, "steps": 1, "seeds": 1, "threads": 1}
    if faults := [f"--{name} must be at least {low}" for name, low in least.items() if getattr(given, name) < low]:
        parser.error("; ".join(faults))
    return given


class Work:
    """Makes what is asked for, or finds it finished."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.model = given, str(minilm())
        self.lengths = {"query_max_len": 32, "passage_max_len": given.passage_max_len, "precision": given.precision}
        keys = (
            "data",
            "train_queries",
            "test_queries",
            "passages",
            "teacher_steps",
            "passage_max_len",
            "precision",
            "cross_encoder",
            "embedding_model",
            "embedding_temperature",
        )
        facts = [[getattr(given, name) for name in keys]]
        folder = self.folder = work_folder(given.work, facts)
        named = collection(given.data)
        if not storage.is_complete(str(folder / "whole")):
            sharpen.load_dataset(str(named) if named.is_dir() else given.data, output=folder / "whole")
        whole = DataSet.open(str(folder / "whole"))
        for_teacher, for_students = halves(
            cut(whole, train=given.train_queries, test=given.test_queries, passages=given.passages, seed=7)
        )
        self.data = for_students
        self.trainings = Trainings(folder, for_students, self.lengths)
        self.teacher = self._teacher(for_teacher)
        self.mined = self._mined(for_students, "students")
        self.scored = self._scored("scored", self.mined)
        self.filtered = self._scored("filtered", self.mined, margin=0.0)

    def _teacher(self, data: DataSet) -> dict[str, Any]:
        """The settings that name it; a cross-encoder is trained where none is given, on `data`."""
        given = self.given
        if given.embedding_model:
            return {"embedding_model": given.embedding_model, "embedding_temperature": given.embedding_temperature}
        model = given.cross_encoder or str(
            train_cross_encoder(self.model, self._mined(data, "teacher"), data, self.folder, given)
        )
        return {"cross_encoder": model, "cross_encoder_max_len": given.passage_max_len + 32}

    def _mined(self, data: DataSet, name: str) -> str:
        folder = self.folder / f"mined-{name}"
        if not storage.is_complete(str(folder)):
            sharpen.mine_hard_negatives(data, self.model, output=folder, negative_number=19, **self.lengths)
        return str(folder)

    def _scored(self, name: str, negatives: str, **settings: Any) -> str:
        folder = self.folder / name
        if not storage.is_complete(str(folder)):
            sharpen.score_by_teachers(self.data, negatives, output=folder, **self.teacher, **settings)
        return str(folder)

    def ways(self) -> dict[str, dict[str, Any]]:
        """Name -> settings of the training, and under ``negatives`` the folder that it has."""
        learns = {"knowledge_distillation": True, "negatives": self.scored}
        guide = {"loss": "gist_embed", "guide_model": self.given.guide or self.model}
        return {
            PLAIN: {},
            "false_negative_margin 0": {"false_negative_margin": 0.0},
            "false_negative_margin 0.1": {"false_negative_margin": 0.1},
            "guide model": guide,
            "teachers.margin 0": {"negatives": self.filtered},
            "kl_div": learns,
            "kl_div, softer teacher": {**learns, "teacher_temperature": 3.0},
            "m3_kd_loss": {**learns, "kd_loss_type": "m3_kd_loss"},
            "margin_mse": {**learns, "loss": "margin_mse", "teacher_temperature": 10.0},
            "listwise: 1 + 19, InfoNCE 0.1": {**learns, "train_group_size": 20, "infonce_weight": 0.1},
        }

    def untrained(self) -> dict[str, np.ndarray]:
        """nDCG@10 of each test query by the base model, and by a teacher that can search."""
        measured = {"base model, not trained": self.trainings.measured("base", self.model)}
        if teacher := self.given.embedding_model:
            measured["the teacher itself"] = self.trainings.measured("teacher", teacher)
        return measured

    def trained(self, name: str, way: dict[str, Any], seed: int) -> np.ndarray:
        """The same by a model that was trained in a way."""
        settings = {**budget(self.given, self.given.steps, seed), **way}
        negatives = settings.pop("negatives", self.mined)
        return self.trainings.trained(name, self.model, self.data, negatives, settings)

    def teacher_facts(self) -> dict[str, Any]:
        """What the teacher says of the students' negatives."""
        return storage.read_json(f"{self.filtered}/report.json")["teachers"]


def halves(data: DataSet) -> tuple[DataSet, DataSet]:
    """Two data sets, each with every other training query, and the same test queries and passages."""
    trained, tested = (data.queries_of(split)["query_id"].sort().to_list() for split in ("train", "test"))

    def part(queries: list[str]) -> DataSet:
        wanted = pl.col("query_id").is_in([*queries, *tested])
        return replace(data, **{name: getattr(data, name).filter(wanted) for name in ("queries", *OF_PAIRS)})

    return part(trained[::2]), part(trained[1::2])


def report(cells: dict[str, list[np.ndarray]], untrained: dict[str, np.ndarray], work: Work) -> str:
    """The table, and what it says of the defaults."""
    given, pairs = work.given, work.teacher_facts()["pairs"]
    lines = [
        *([name, f"{run.mean():.4f}", "", shown(versus([run], cells[PLAIN]))] for name, run in untrained.items()),
        *rows(cells, PLAIN),
    ]
    better = [name for name, runs in cells.items() if name != PLAIN and versus(runs, cells[PLAIN]).ci_low > 0]
    worse = [name for name, runs in cells.items() if name != PLAIN and versus(runs, cells[PLAIN]).ci_high < 0]
    named = given.embedding_model or given.cross_encoder
    teacher = Path(named).name or (
        f"a cross-encoder trained from the base model, {given.teacher_steps} steps of 32 pairs of other queries"
    )
    runs, told_better, told_worse = len(cells[PLAIN]), ", ".join(better) or "none", ", ".join(worse) or "none"
    return "\n\n".join(
        [
            f"Machine: {machine.describe(given.threads)}.",
            f"Command: `{command('tests.peers.bench_teachers')}`.",
            table(["training", "nDCG@10", "by seed", f"minus {PLAIN} (95 % interval)"], lines),
            f"Better than {PLAIN} beyond the interval: {told_better}; worse: {told_worse}.",
            f"Data {Path(given.data).name}: {pairs['queries']:,} training queries, {len(cells[PLAIN][0]):,} test "
            f"queries, {work.data.corpus.height:,} passages searched. all-MiniLM-L6-v2, {given.steps} steps of "
            f"{given.queries} queries x group {given.group}, learning rate {given.learning_rate:g}. Teacher: "
            f"{teacher}; it finds {pairs['dropped']:,} of {pairs['negatives']:,} mined negatives more relevant than "
            f"the positive. Guide: {Path(given.guide).name or 'the base model'}. Intervals: paired bootstrap over the "
            f"queries ({RESAMPLES:,} resamples) of the means over {runs} seeds.",
        ]
    )


if __name__ == "__main__":
    main()
