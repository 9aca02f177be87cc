"""From a data set to numbered training examples, task by task."""

from __future__ import annotations

import numpy as np
import polars as pl

from sharpen.data.dataset import DataSet
from sharpen.data.relevance import WITH_INSTRUCTION, check_ids, part_of
from sharpen.data.task_type import TaskType
from sharpen.errors import InputError
from sharpen.training.data.examples import Examples, joined
from sharpen.training.data.relevance_tables import relevance_tables
from sharpen.training.data.symmetric_tables import check_labels, symmetric_tables
from sharpen.training.settings import TrainingSettings


def make_examples(data: DataSet, negatives: pl.DataFrame | None, training: TrainingSettings) -> Examples:
    """Number the training queries and texts of a data set, in memory.

    The numbers are a function of the tables' rows and not of their order: task by task, queries by query_id, texts by
    first passage_id.

    Args:
        data: the data set; its ``train`` split is trained on, the judgements of all splits are known positives.
        negatives: mined negatives (`data.dataset.NEGATIVES`); None: the negatives that came with the data.
        training: group size, distillation.

    Raises:
        InputError: nothing to train on, ids that the data set does not have, a source or a corpus that is too small,
            or no teacher scores for distillation.
    """
    check_ids(data, negatives)
    search = part_of(data, WITH_INSTRUCTION)
    tables = list(symmetric_tables(data, training))
    distills = False
    if not tables or not search.queries_of("train").is_empty():
        tables.insert(0, relevance_tables(search, _with_lists(search, negatives), training))
        distills = training.knowledge_distillation
    examples = joined(tables, distilled=distills)
    check_enough(examples, training)
    return examples


def _with_lists(data: DataSet, negatives: pl.DataFrame | None) -> pl.DataFrame | None:
    """Mined negatives, and those that the lists of reranking bring, for which nothing is mined."""
    if negatives is None:
        return None
    lists = data.queries.filter(pl.col("task_type") == TaskType.RERANKING.value)
    brought = data.given_negatives.join(lists, on="query_id", how="semi")
    return negatives if brought.is_empty() else pl.concat([negatives, brought], how="diagonal")


def check_enough(examples: Examples, training: TrainingSettings) -> None:
    """Raise InputError when the texts of a task are too few for a group."""
    for number, task in enumerate(examples.tasks):
        if task.learns in ("search", "pairs") and task.in_batch:
            _check_texts(examples, training, number)
        elif task.learns == "labels":
            check_labels(examples, training, number)
        if training.train_group_size == 1 and task.learns == "pairs" and not task.in_batch:
            raise InputError(
                f"train_group_size: 1 leaves source {task.source or '(unnamed)'} ({task.task_type}) without negatives, "
                "which its queries have in their own group only; set 2 or more"
            )


def _check_texts(examples: Examples, training: TrainingSettings, number: int) -> None:
    task = examples.tasks[number]
    keys = examples.text_key[task.first_text : task.end_text]
    texts = len(np.unique(keys))
    never = [examples.never_negatives[row] for row in np.flatnonzero(examples.task == number).tolist()]
    if texts == len(keys):
        most = max(map(len, never))
    else:
        most = max(len(np.unique(examples.text_key[numbers])) for numbers in never)
    if texts - most < training.train_group_size - 1:
        raise InputError(
            f"train_group_size: {training.train_group_size} needs {training.train_group_size - 1} negatives for every "
            f"query, but the corpus has only {texts} different texts, {most} of them relevant to one query or its own "
            "text; lower it"
        )
