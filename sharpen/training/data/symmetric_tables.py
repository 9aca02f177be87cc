"""Examples of tasks whose two sides are encoded alike: pairs with labels of similarity, labelled texts, and rows with
positives.

Each source is a task of its own: its labels are on its own scale, and mean something beside each other only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from sharpen.data.dataset import DataSet
from sharpen.data.relevance import label_numbers, named_passages, part_of
from sharpen.data.task_type import TaskType
from sharpen.errors import InputError
from sharpen.training.data.examples import Examples, TaskTables, TrainingTask, numbers_of
from sharpen.training.data.relevance_tables import distinct_texts, relevance_tables
from sharpen.training.settings import TrainingSettings

TRAIN = "train"


def symmetric_tables(data: DataSet, training: TrainingSettings) -> Iterator[TaskTables]:
    """The examples of every source and task type that is encoded alike on both sides.

    Args:
        data: all of the data set.
        training: group size, smallest relevant grade.

    Raises:
        InputError: a source from which nothing can be learned.
    """
    kinds = [kind for kind in TaskType if not kind.has_instruction]
    train = data.queries_of(TRAIN).filter(pl.col("task_type").is_in([kind.value for kind in kinds]))
    for name, source in sorted(set(train.select("task_type", pl.col("source").fill_null("")).iter_rows())):
        part = part_of(data, [TaskType(name)], source)
        found = list(_tables_of(part, TaskType(name), source, training))
        if not found:
            raise InputError(
                f"source {source or '(unnamed)'}: its {name} queries have neither labels nor positives to learn from; "
                "give them some, or take the source out of the data"
            )
        yield from found


def _tables_of(part: DataSet, kind: TaskType, source: str, training: TrainingSettings) -> Iterator[TaskTables]:
    """The examples of a source and task type, by what its queries bring."""
    queries = part.queries.with_columns(instruction=pl.lit(""), source=pl.lit(source))
    part = named_passages(_of(part, queries))
    labels = part.similarity_labels.filter(pl.col("split") == TRAIN)
    if not labels.is_empty():
        yield _similarity(part, labels, TrainingTask("similarity", kind.value, source, 0, 0))
    labelled = queries.filter((pl.col("label") != "") & (pl.col("split") == TRAIN))
    if not labelled.is_empty():
        yield _labels(queries, labelled, TrainingTask("labels", kind.value, source, 0, 0))
    with_positives = queries.join(part.qrels.filter(pl.col("grade") > 0), on="query_id", how="semi")
    if not with_positives.filter(pl.col("split") == TRAIN).is_empty():
        yield _pairs(_of(part, with_positives), training, TrainingTask("pairs", kind.value, source, 0, 0))


def _of(part: DataSet, queries: pl.DataFrame) -> DataSet:
    return DataSet(part.corpus, queries, part.qrels, part.given_negatives, similarity_labels=part.similarity_labels)


def _pairs(part: DataSet, training: TrainingSettings, task: TrainingTask) -> TaskTables:
    """A row a query with positives. Raises InputError when none has a negative where only its own are negatives."""
    tables = relevance_tables(part, None, training, task)
    if task.in_batch:
        return tables
    rows = tables.rows.filter(pl.col("negatives").list.len() > 0)
    if rows.is_empty():
        raise InputError(
            f"source {task.source or '(unnamed)'}: its {task.task_type} queries have positives, but neither labels nor "
            "negatives of their own, and another row's passage may mean the same; give them neg, or a label"
        )
    left_out = {"queries_without_negatives": tables.rows.height - rows.height, "queries": rows.height}
    return replace(tables, rows=rows, counts={**tables.counts, **left_out})


def _similarity(part: DataSet, labels: pl.DataFrame, task: TrainingTask) -> TaskTables:
    """A row a pair. Raises InputError when all labels are equal: there is no order to learn."""
    if labels["label"].n_unique() < 2:
        raise InputError(
            f"source {task.source or '(unnamed)'}: all {labels.height:,} labels of similarity are equal, so no pair "
            "ranks above another; bring different ones, or name the source retrieval with positives"
        )
    texts, number_of = distinct_texts(part.corpus, part.corpus.select("passage_id", "text_key"))
    best = labels.group_by("query_id", "passage_id").agg(pl.col("label").max())
    pairs = best.join(number_of, on="passage_id").join(
        part.queries.select("query_id", "text", "text_key", "source", "instruction"), on="query_id"
    )
    pairs = pairs.sort("query_id", "number", "label").unique(["query_id", "number"], keep="last", maintain_order=True)
    one = pl.concat_list("number")
    rows = pairs.select(
        "query_id",
        "text",
        "instruction",
        numbers_of(pairs, "text"),
        "source",
        query_key="text_key",
        positives=one,
        grades=pl.lit([1], pl.List(pl.Int32)),
        never_negatives=one,
        negatives=pl.lit([], pl.List(pl.Int64)),
        scored=one,
        scores=pl.concat_list("label"),
    )
    counts = {"queries": rows.height, "texts": texts.height}
    return TaskTables(task, rows, texts.select("text_id", "text", "text_key"), counts)


def _labels(queries: pl.DataFrame, labelled: pl.DataFrame, task: TrainingTask) -> TaskTables:
    """A row a labelled text; those whose label no other text has are left out.

    Raises:
        InputError: no two texts have one label, or all have the same.
    """
    numbers = label_numbers(queries).group_by("text_key").agg(labels=pl.col("label_number"))
    labelled = labelled.sort("query_id").join(numbers, on="text_key", maintain_order="left")
    once = labelled.unique("text", keep="first", maintain_order=True)
    # how many different texts have each label
    often = once.unique("text_key").explode("labels").group_by("labels").len().filter(pl.col("len") > 1)
    shared = labelled.explode("labels").join(often, on="labels", how="semi").select("query_id").unique()
    chosen = labelled.join(shared, on="query_id", how="semi", maintain_order="left")
    name = task.source or "(unnamed)"
    if chosen.is_empty():
        raise InputError(f"source {name}: no label of it has two different training texts; nothing to learn from")
    if len(set().union(*labelled["labels"].to_list())) < 2:
        raise InputError(f"source {name}: all its training texts have one label; bring texts with others")
    nothing = pl.lit([], pl.List(pl.Int64))
    rows = chosen.select(
        "query_id",
        "text",
        "instruction",
        numbers_of(chosen, "text"),
        "source",
        "labels",
        query_key="text_key",
        positives=nothing,
        grades=pl.lit([], pl.List(pl.Int32)),
        never_negatives=nothing,
        negatives=nothing,
        scored=nothing,
        scores=pl.lit([], pl.List(pl.Float64)),
    )
    texts = once.select("text", "text_key", "labels", text_id="query_id").select(
        "text_id", "text", "text_key", "labels"
    )
    counts = {
        "queries": rows.height,
        "texts": texts.height,
        "texts_with_a_label_of_their_own": labelled.height - rows.height,
    }
    return TaskTables(task, rows, texts, counts)


def check_labels(examples: Examples, training: TrainingSettings, number: int) -> None:
    """Raise InputError when the texts with other labels are too few for a group.

    Args:
        examples: texts and labels.
        training: group size.
        number: of the task in `Examples.tasks`.
    """
    task, wanted = examples.tasks[number], training.train_group_size - 1
    texts = range(task.first_text, task.end_text)
    total, of_label, keys = set(), dict[int, set[int]](), examples.text_key
    for text in texts:
        total.add(int(keys[text]))
        for label in examples.text_labels[text].tolist():
            of_label.setdefault(label, set()).add(int(keys[text]))
    sets = {tuple(examples.labels[row].tolist()) for row in np.flatnonzero(examples.task == number).tolist()}
    least = min(len(total - set().union(*(of_label[label] for label in labels))) for labels in sets)
    if least < wanted:
        raise InputError(
            f"train_group_size: {training.train_group_size} needs {wanted} texts with other labels for every text of "
            f"source {task.source or '(unnamed)'} ({task.task_type}), but one has only {least}; lower it"
        )
