"""The work behind the quality tables: data, negatives, trainings and evaluations, each kept once it is finished.

Everything lies in a work folder under a name that says what it was made from, so that an interrupted benchmark goes on
where it was, and one with other settings begins anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl
import pytrec_eval
from transformers import AutoTokenizer

from sharpen.data.dataset import NEGATIVES, DataSet, read_table
from sharpen.data.text import text_key
from sharpen.store import storage
from sharpen.version import code_version
from tests.peers.contestants import CONTESTANTS, Task
from tests.peers.medquad_data import cut, prepared, publish
from tests.peers.mining_data import Row, training_rows, write_lines
from tests.peers.process import environment, run_process
from tests.peers.rows import Size, minilm, stop

METRIC = "ndcg_at_10"
MINED: dict[str, list[str]] = {
    "random": ["--random_share", "1", "--range_for_sampling", "0-15", "--relative_margin", "none", "--top_up", "off"],
    "naive top": ["--sampling", "top", "--range_for_sampling", "0-15", "--relative_margin", "none", "--top_up", "off"],
    "defaults": [],
}


@dataclass(frozen=True)
class Plan:
    """What is trained and evaluated; all of it decides a result.

    Attributes:
        size: of a step, and how many.
        precision: of training and evaluation.
        learning_rate, lr_scheduler_type, warmup_steps: the same for all.
        test_queries, passages: size of the test set and of the corpus.
        spare: training queries of the data set for each that is trained on.
    """

    size: Size
    precision: str
    learning_rate: float
    test_queries: int
    passages: int
    lr_scheduler_type: str = "linear"
    warmup_steps: float = 0.1
    spare: float = 1.5

    @property
    def lengths(self) -> list[str]:
        """The options of every step of ours."""
        lengths = ["--query_max_len", str(self.size.query_max_len), "--passage_max_len", str(self.size.passage_max_len)]
        return [*lengths, "--precision", self.precision, "--sentence_pooling_method", "mean"]

    def name(self, *parts: str) -> str:
        """A folder's name that changes with the plan, the code and the parts."""
        facts = json.dumps([asdict(self), code_version(), parts], sort_keys=True)
        return f"{'-'.join(parts).replace(' ', '_')}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Cell:
    """One trained and evaluated model.

    Attributes:
        scores: nDCG@10 of every test query, in the order of their ids.
        deviation: the largest difference to what pytrec_eval makes of the same run and judgements.
        seconds: of the training's process, 0 for the base model.
    """

    scores: list[float]
    deviation: float
    seconds: float


class Work:
    """Makes what is asked for, or finds it finished.

    Args:
        folder: the work folder.
        plan: what is trained.
        threads: of every process.
        limit_minutes: a process that takes longer is ended.
        flagembedding: Python of FlagEmbedding's environment.
    """

    def __init__(self, folder: Path, plan: Plan, threads: int, limit_minutes: float, flagembedding: Path) -> None:
        self.folder, self.plan, self.threads = folder, plan, threads
        self.limit_minutes, self.flagembedding = limit_minutes, flagembedding
        self.model = minilm()
        folder.mkdir(parents=True, exist_ok=True)

    def data(self) -> Path:
        """The data set: MedQuAD, cut."""
        folder = self.folder / self.plan.name("data")
        if not storage.is_complete(str(folder)):
            size = self.plan.size
            train = round(self.plan.spare * size.queries * size.steps)
            counts = {"train": train, "test": self.plan.test_queries, "passages": self.plan.passages}
            publish(cut(prepared(), **counts, seed=42), folder)
        return folder

    def negatives(self, way: str) -> Path:
        """Mined negatives of the data set; `way` is one of `MINED`."""
        folder = self.folder / self.plan.name("negatives", way)
        if not storage.is_complete(str(folder)):
            self._step("hard_negatives", folder, ["--model", str(self.model), *MINED[way]])
        return folder

    def hidden_positives(self, way: str) -> tuple[int, float]:
        """Queries with a hidden positive, and the share of those for which it was picked as a negative."""
        report = storage.read_json(str(self.negatives(way) / "report.json"))["hidden_positives"]
        return (report["queries"], report["rate_as_set"]) if report else (0, float("nan"))

    def rows(self) -> Path:
        """Rows of FlagEmbedding's format with one positive and the same few default negatives for everyone."""
        file = self.folder / f"{self.plan.name('rows')}.jsonl"
        if not file.is_file():
            made = fixed_rows(self.data(), self.negatives("defaults"), self.model, self.plan.size)
            write_lines(file.with_suffix(".new"), made)
            file.with_suffix(".new").replace(file)
        return file

    def base(self) -> Cell:
        """The base model, not trained."""
        return self._cell("base", "", lambda _: (self.model, 0.0))

    def on_negatives(self, way: str, seed: int) -> Cell:
        """Sharpen's trainer on the negatives of one way."""

        def train(folder: Path) -> tuple[Path, float]:
            size = self.plan.size
            options = [
                *["--negatives", str(self.negatives(way)), "--model", str(self.model), "--seed", str(seed)],
                *["--train_batch_size", str(size.queries), "--train_group_size", str(size.group)],
                *["--max_steps", str(size.steps), "--learning_rate", str(self.plan.learning_rate)],
                *["--lr_scheduler_type", self.plan.lr_scheduler_type, "--warmup_steps", str(self.plan.warmup_steps)],
                *["--save_steps", "0", "--logging_steps", "10"],
            ]
            return folder / "model", self._step("finetuning", folder / "model", options)

        return self._cell(f"negatives {way}", str(seed), train)

    def by_trainer(self, name: str, seed: int) -> Cell:
        """One of `CONTESTANTS` on the fixed rows."""

        def train(folder: Path) -> tuple[Path, float]:
            plan = self.plan
            task = Task(
                *(replace(plan.size, seed=seed), plan.precision, self.rows(), self.model, folder),
                *(self.threads, 32, self.flagembedding, plan.learning_rate, plan.lr_scheduler_type, plan.warmup_steps),
            )
            return folder / "model", self._run(name, CONTESTANTS[name](task), folder, ours=name != "FlagEmbedding")

        return self._cell(f"trainer {name}", str(seed), train)

    def _cell(self, name: str, seed: str, train: Callable[[Path], tuple[Path, float]]) -> Cell:
        """A finished cell, or train, evaluate and keep what the tables need; the model itself is not kept."""
        file = self.folder / f"{self.plan.name(name, seed)}.json"
        if file.is_file():
            return Cell(**json.loads(file.read_text()))
        folder = file.with_suffix("")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        model, seconds = train(folder)
        evaluation = folder / "evaluation"
        self._step("evaluation", evaluation, ["--model", str(model), "--split", "test", "--resamples", "100"])
        table = pl.read_parquet(evaluation / "per_query.parquet").sort("query_id")
        scores = dict(table.select("query_id", METRIC).iter_rows())
        cell = Cell(list(scores.values()), deviation(scores, evaluation / "run.trec", self.data()), seconds)
        file.write_text(json.dumps(asdict(cell)))
        shutil.rmtree(folder)
        return cell

    def _step(self, step: str, output: Path, options: Sequence[str]) -> float:
        command = [sys.executable, "-m", f"components.{step}", "--data", str(self.data()), "--output", str(output)]
        return self._run(step, [*command, *options, *self.plan.lengths], output.with_suffix(".work"))

    def _run(self, name: str, command: Sequence[str], folder: Path, *, ours: bool = True) -> float:
        # one cache for all: the base model's vectors of the corpus are made once
        environ = environment(folder, self.threads, ours=ours) | {"SHARPEN_CACHE": str(self.folder / "sharpen")}
        return run_process(name, command, folder, environ, self.limit_minutes).seconds


def fixed_rows(data: Path, negatives: Path, model: Path, size: Size) -> list[Row]:
    """As many rows as the steps need: no query or positive twice, each with `Size.group` - 1 of its mined negatives."""
    dataset = DataSet.open(str(data))
    texts = dict(zip(dataset.corpus["passage_id"].to_list(), dataset.passage_texts(), strict=True))
    mined: dict[str, list[str]] = {}
    for query_id, passage_id in (
        read_table(negatives / "negatives", NEGATIVES).select("query_id", "passage_id").iter_rows()
    ):
        mined.setdefault(query_id, []).append(texts[passage_id])
    of_text = {text: query_id for query_id, text in dataset.queries.select("query_id", "text").iter_rows()}
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows: list[Row] = []
    seen: set[int] = set()
    train = DataSet(dataset.corpus, dataset.queries_of("train"), dataset.qrels)
    for row in training_rows(train):
        query, positive = row["query"], row["pos"][0]
        own = mined.get(of_text[query], [])[: size.group - 1]
        # sentence-transformers knows one length for all texts: a longer query would not be cut there
        fits = len(tokenizer(query)["input_ids"]) <= size.query_max_len
        if fits and len(own) == size.group - 1 and text_key(positive) not in seen:
            seen.add(text_key(positive))
            rows.append({"query": query, "pos": [positive], "neg": own})
    wanted = size.queries * size.steps
    if len(rows) < wanted:
        stop(f"only {len(rows):,} of {wanted:,} rows have a positive of their own and enough negatives; fewer --steps")
    return rows[:wanted]


def deviation(scores: dict[str, float], run: Path, data: Path) -> float:
    """The largest difference between our nDCG@10 of a query and pytrec_eval's."""
    qrels = DataSet.open(str(data)).qrels_of("test")
    found: dict[str, dict[str, float]] = {}
    for line in run.read_text().splitlines():
        query_id, _, passage_id, _, score, _ = line.split()
        found.setdefault(query_id, {})[passage_id] = float(score)
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(found)
    return max(abs(scores[query_id] - values["ndcg_cut_10"]) for query_id, values in theirs.items())
