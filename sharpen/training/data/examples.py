"""The training examples of a data set: numbered queries and texts, and which text is what to which query; one task's as
tables, and those of several as one.

A *text* here is a distinct passage text, to the letter: what is encoded is what is written. Keys (`data.text.text_key`)
tell which texts are the same but for their letters' form, so that no copy of a positive is taken for a negative.
Examples are rows of numbers; texts are stored once, in Arrow, which is memory-mapped when it was written to a folder:
the processes of a machine share its pages.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from datasets import Dataset

from sharpen.data.task_type import TaskType
from sharpen.progress import without_bars
from sharpen.training.data.ragged_array import RaggedArray, in_memory

_NUMBERS = ("positives", "never_negatives", "negatives", "scored")
_LIST = pl.List(pl.Int64)


@dataclass(frozen=True)
class TrainingTask:
    """Queries that are learned from in one way, and so stand in batches of their own.

    Attributes:
        learns: from ``search`` (retrieval and reranking: positives among negatives, with prompts), or, with both sides
            encoded alike and without a prompt, from ``pairs`` (positives among negatives), ``labels`` (texts of one
            label among texts of others) or ``similarity`` (pairs in the order of their labels).
        task_type: of its queries; of ``search`` retrieval.
        source: the only one of its queries, whose labels mean the same; empty for ``search``.
        first_text, end_text: its texts are those numbered from the one up to, not including, the other.
    """

    learns: Literal["search", "pairs", "labels", "similarity"]
    task_type: str
    source: str
    first_text: int
    end_text: int

    @property
    def symmetric(self) -> bool:
        """Whether both sides are encoded alike."""
        return self.learns != "search"

    @property
    def in_batch(self) -> bool:
        """Whether its passages can be negatives of other queries of the batch.

        Not where a passage stands for a label that is not known: two rows may mean the same one.
        """
        if self.learns == "pairs":
            return self.task_type == TaskType.STS
        return self.learns != "similarity"


@dataclass(frozen=True)
class Facts:
    """What is known of the examples as a whole.

    Attributes:
        sources: names of the sources, sorted.
        counts: what was taken and left out, for the report.
        distilled: whether there are teacher scores.
        tasks: what is learned from, in the order of their texts.
    """

    sources: list[str]
    counts: dict[str, int]
    distilled: bool
    tasks: list[TrainingTask]


class Examples:
    """What is trained on.

    Attributes:
        query_ids, queries, instructions: one entry a training query; an empty instruction means the encoder's own.
        query_number: (queries) equal for queries with equal instruction and text, to the letter.
        query_key: (queries, uint64) equal for queries whose texts are the same after normalisation.
        sources, source: names of the sources, and the source of each query as an index in them.
        text_ids, texts: one entry a distinct text: the first passage id that has it, and the text.
        text_key: (texts, uint64) as `query_key`, and equal to one where query and passage have the same text.
        positives, grades: for each query, its relevant texts, of which one is drawn, and their grades.
        never_negatives: for each query, every text that must never be its negative (`data.relevance`).
        negatives: for each query, its hard negatives, none of them among `never_negatives`.
        scored, scores: for each query, the texts with a teacher score, and the scores; empty without distillation.
        distilled: whether there are teacher scores.
        tasks, task: what is learned from, and the task of each query as an index in it. Of ``similarity`` a row is a
            pair: its passage is the positive, and its label the only score. Of ``labels`` positives and negatives
            follow from the labels.
        labels, text_labels: numbers of the labels of each query, and of each text, within their task.
        counts: what was taken and left out, for the report.

    Args:
        queries: a row a query: query_id, text, instruction, number, query_key, source, task, symmetric, and the lists.
        texts: a row a text: text_id, text, text_key, symmetric (it is encoded without a prompt), labels.
        facts: the rest.
    """

    def __init__(self, queries: Dataset, texts: Dataset, facts: Facts) -> None:
        self.query_table, self.text_table, self.facts = queries, texts, facts
        self.query_ids: Sequence[str] = queries["query_id"]
        self.queries: Sequence[str] = queries["text"]
        self.instructions: Sequence[str] = queries["instruction"]
        self.query_number: np.ndarray = queries.data.column("number").to_numpy()
        self.query_key: np.ndarray = queries.data.column("query_key").to_numpy()
        self.source: np.ndarray = queries.data.column("source").to_numpy()
        self.text_ids: Sequence[str] = texts["text_id"]
        self.texts: Sequence[str] = texts["text"]
        self.text_key: np.ndarray = texts.data.column("text_key").to_numpy()
        self.positives = RaggedArray.of_column(queries, "positives")
        self.grades = RaggedArray.of_column(queries, "grades")
        self.never_negatives = RaggedArray.of_column(queries, "never_negatives")
        self.negatives = RaggedArray.of_column(queries, "negatives")
        self.scored = RaggedArray.of_column(queries, "scored")
        self.scores = RaggedArray.of_column(queries, "scores")
        self.labels = RaggedArray.of_column(queries, "labels")
        self.text_labels = RaggedArray.of_column(texts, "labels")
        self.task: np.ndarray = queries.data.column("task").to_numpy()
        self.sources, self.counts, self.distilled = facts.sources, facts.counts, facts.distilled
        self.tasks = facts.tasks

    def __len__(self) -> int:
        return len(self.query_table)

    def teacher(self, query: int, texts: Sequence[int]) -> list[float]:
        """Teacher scores of texts for a query; -inf where there is none."""
        known = dict(zip(self.scored[query].tolist(), self.scores[query].tolist(), strict=True))
        return [known.get(text, -np.inf) for text in texts]

    def save(self, folder: Path) -> None:
        """Write the tables and facts into an empty folder."""
        with without_bars():
            self.query_table.save_to_disk(folder / "queries")
            self.text_table.save_to_disk(folder / "texts")
        values: dict[str, Any] = asdict(self.facts)
        (folder / "facts.json").write_text(json.dumps(values), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> Examples:
        """What `save` wrote, memory-mapped."""
        values = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        facts = Facts(**{**values, "tasks": [TrainingTask(**task) for task in values["tasks"]]})
        queries, texts = (Dataset.load_from_disk(folder / name, keep_in_memory=False) for name in ("queries", "texts"))
        return cls(queries, texts, facts)


@dataclass(frozen=True)
class TaskTables:
    """The examples of a task; its texts are numbered from 0.

    Attributes:
        task: what is learned.
        rows: a row a query as `Examples` has them, but source by its name; of labelled texts `labels` besides.
        texts: a row a text: text_id, text, text_key, and of labelled texts `labels`.
        counts: what was taken and left out -> how often.
    """

    task: TrainingTask
    rows: pl.DataFrame
    texts: pl.DataFrame
    counts: dict[str, int]


def joined(tables: Sequence[TaskTables], *, distilled: bool) -> Examples:
    """The examples of all `tables`, texts numbered one task after another; `distilled`: there are teacher scores."""
    sources = sorted({name for table in tables for name in table.rows["source"].unique()})
    rows, texts, tasks, counts, first = [], [], [], Counter[str](), 0
    for number, table in enumerate(tables):
        end = first + table.texts.height
        task = replace(table.task, first_text=first, end_text=end)
        tasks.append(task)
        symmetric = pl.lit(task.symmetric).alias("symmetric")
        shifted = [_shifted(name, first) for name in _NUMBERS] if first else []
        rows.append(
            _with_labels(table.rows).with_columns(
                *shifted,
                symmetric,
                pl.col("source").replace_strict(sources, range(len(sources)), return_dtype=pl.Int64),
                task=pl.lit(number, pl.Int64),
            )
        )
        texts.append(_with_labels(table.texts).with_columns(symmetric))
        counts.update(table.counts)
        first = end
    return Examples(
        in_memory(pl.concat(rows, how="diagonal", rechunk=True)),
        in_memory(pl.concat(texts, rechunk=True)),
        Facts(sources, dict(counts), distilled, tasks),
    )


def _with_labels(table: pl.DataFrame) -> pl.DataFrame:
    return table if "labels" in table.columns else table.with_columns(labels=pl.lit([], dtype=_LIST))


def _shifted(name: str, by: int) -> pl.Expr:
    return pl.col(name).list.eval(pl.element() + by)


def numbers_of(table: pl.DataFrame, *columns: str) -> pl.Series:
    """Numbers of the rows, equal for rows that are equal in these columns, in the order of their first rows."""
    first = table.select(*columns).with_row_index("row").select(pl.col("row").first().over(columns))
    return (first["row"].rank("dense").cast(pl.Int64) - 1).alias("number")
