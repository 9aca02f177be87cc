"""The training examples of a data set: numbered queries and texts, and which text is what to which query.

A *text* here is a distinct passage text, to the letter: what is encoded is what is written. Keys (`data.text.text_key`)
tell which texts are the same but for their letters' form, so that no copy of a positive is taken for a negative.
Examples are rows of numbers; texts are stored once, in Arrow, which is memory-mapped when it was written to a folder:
the processes of a machine share its pages.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from sharpen.progress import without_bars
from sharpen.training.data.ragged_array import RaggedArray


@dataclass(frozen=True)
class Facts:
    """What is known of the examples as a whole.

    Attributes:
        sources: names of the sources, sorted.
        counts: what was taken and left out, for the report.
        distilled: whether there are teacher scores.
    """

    sources: list[str]
    counts: dict[str, int]
    distilled: bool


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
        counts: what was taken and left out, for the report.

    Args:
        queries: a row a query: query_id, text, instruction, number, query_key, source, and the six lists.
        texts: a row a text: text_id, text, text_key.
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
        self.sources, self.counts, self.distilled = facts.sources, facts.counts, facts.distilled

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
        values: dict[str, Any] = vars(self.facts)
        (folder / "facts.json").write_text(json.dumps(values), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> Examples:
        """What `save` wrote, memory-mapped."""
        facts = Facts(**json.loads((folder / "facts.json").read_text(encoding="utf-8")))
        queries, texts = (Dataset.load_from_disk(folder / name, keep_in_memory=False) for name in ("queries", "texts"))
        return cls(queries, texts, facts)
