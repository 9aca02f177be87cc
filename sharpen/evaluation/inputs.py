"""What a measurement reads, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sharpen.data import query_keys
from sharpen.data.dataset import DataSet
from sharpen.data.readers import read_dataset
from sharpen.evaluation.analysis.guard import GuardSet, open_guard
from sharpen.evaluation.analysis.slices import Slicing, slice_queries
from sharpen.evaluation.artifact import EvaluationArtifact, check_comparable
from sharpen.evaluation.dev import select_dev
from sharpen.evaluation.facts import protocol_facts
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.evaluation.split import EvaluationSplit, select_split
from sharpen.evaluation.tasks.task_set import TaskSet, task_facts, task_sets


@dataclass(frozen=True)
class Inputs:
    """What is measured, and how.

    Attributes:
        dataset: the data, read from `data`.
        split: whose queries are searched.
        settings: of the evaluation.
        eval_set, dev_set: the queries of the split, and of dev where the data have it; over the same corpus.
        guard: the guard set, if there is one.
        slicings: how the queries are divided; that by tokens is its name alone.
        tasks: what the split has of other task types than retrieval.
        protocol: facts of all that is measured with these inputs.
    """

    dataset: DataSet
    data: str
    split: str
    settings: EvaluationSettings
    eval_set: EvaluationSplit
    dev_set: EvaluationSplit | None
    guard: GuardSet | None
    slicings: list[Slicing | str]
    tasks: list[TaskSet]
    protocol: dict[str, Any]

    @classmethod
    def read(cls, data: str, split: str, settings: EvaluationSettings, without: str = "") -> Inputs:
        """Read the data of an evaluation.

        Args:
            data: data set of ours, BEIR folder or FlagEmbedding JSONL.
            split: whose queries are searched.
            settings: of the evaluation.
            without: address of a file of query keys (`query_keys`): queries that are left out of the split.

        Raises:
            InputError: no such data, split, guard set or field to slice by.
        """
        dataset = read_dataset(data, split)
        trained_on = query_keys.read(without)
        eval_set = select_split(dataset, split, data, settings.relevance_level, without=trained_on)
        tasks = task_sets(dataset, split, trained_on)
        return cls(
            dataset,
            data,
            split,
            settings,
            eval_set,
            select_dev(dataset, split, data, settings),
            open_guard(settings),
            slice_queries(dataset, eval_set, data, settings),
            tasks,
            protocol_facts(data, dataset.fingerprint(), split, eval_set, settings) | task_facts(tasks, settings),
        )

    @property
    def rows(self) -> dict[str, int]:
        """What is counted of an evaluation in its marker."""
        return {"queries": len(self.eval_set.query_ids), "passages": len(self.eval_set.passage_ids)}

    def open_references(self, references: Mapping[str, str]) -> dict[str, EvaluationArtifact]:
        """The evaluations of name -> address, on the queries that are measured here; empty addresses are left out.

        Raises:
            InputError: one is not finished, or was measured otherwise.
        """
        opened = {name: EvaluationArtifact.open(address) for name, address in references.items() if address}
        for name, reference in opened.items():
            check_comparable(name, reference, self.protocol)
        return {name: reference.of_queries(self.eval_set.query_ids) for name, reference in opened.items()}
