"""The queries of a split that are no retrieval, by task type and source."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from sharpen.data.dataset import DataSet, with_groups
from sharpen.data.relevance import part_of
from sharpen.data.task_type import TaskType
from sharpen.evaluation.settings import TaskSettings


@dataclass(frozen=True)
class TaskSet:
    """What one source brings of one task type.

    Attributes:
        task_type, source: of all its queries.
        data: the part of the data set with them, training texts included.
        items: what is measured, a row each: text_id, group; of labelled texts text and label; of pairs query_id,
            passage_id and label (a number); of reranking query_id.
    """

    task_type: TaskType
    source: str
    data: DataSet
    items: pl.DataFrame

    @property
    def training_texts(self) -> pl.DataFrame:
        """text and label of labelled texts of the split train, sorted by query_id."""
        train = self.data.queries_of("train").filter(pl.col("label") != "")
        return train.select("text", "label")


def task_sets(data: DataSet, split: str, without: Collection[int] = ()) -> list[TaskSet]:
    """What a split has of each task type but retrieval, by task type and source.

    Args:
        data: the data set.
        split: whose queries.
        without: text keys of queries to leave out.
    """
    others = data.queries_of(split).filter(pl.col("task_type") != TaskType.RETRIEVAL.value)
    found = []
    for name, source in sorted(set(others.select("task_type", pl.col("source").fill_null("")).iter_rows())):
        kind = TaskType(name)
        part = part_of(data, [kind], source)
        seen = pl.DataFrame({"text_key": list(without)}, schema={"text_key": pl.UInt64})
        queries = with_groups(part.queries_of(split)).join(seen, on="text_key", how="anti", maintain_order="left")
        if kind.has_labels:
            part = _with_training_texts(data, part, kind, queries)
        items = list(_items(part, kind, queries, split))
        found += [TaskSet(kind, source, part, table) for table in items if not table.is_empty()]
    return found


def task_facts(tasks: Sequence[TaskSet], settings: TaskSettings) -> dict[str, Any]:
    """How the figures of `tasks` come about, as it is recorded with them; None where there are none."""
    values = settings.model_dump(include={*TaskSettings.model_fields, "seed"}) if tasks else None
    return {"tasks": values}


def _items(part: DataSet, kind: TaskType, queries: pl.DataFrame, split: str) -> Iterator[pl.DataFrame]:
    if kind is TaskType.STS:
        pairs = part.similarity_labels.filter(pl.col("split") == split).sort("query_id", "passage_id")
        yield pairs.join(queries.select("query_id", "group"), on="query_id", maintain_order="left").select(
            "query_id", "passage_id", "label", "group", text_id=pl.format("{}\t{}", "query_id", "passage_id")
        )
    elif kind.has_labels:
        yield queries.filter(pl.col("label") != "").select("text", "label", "group", text_id="query_id")
    else:
        answered = part.qrels.filter((pl.col("split") == split) & (pl.col("grade") > 0))
        yield queries.join(answered, on="query_id", how="semi", maintain_order="left").select(
            "query_id", "group", text_id="query_id"
        )


def _with_training_texts(data: DataSet, part: DataSet, kind: TaskType, queries: pl.DataFrame) -> DataSet:
    """The part, with training texts of other sources that have its labels where it has none of its own."""
    if not part.queries_of("train").is_empty():
        return part
    others = data.queries_of("train").filter(
        (pl.col("task_type") == kind.value) & pl.col("label").is_in(queries["label"].unique().implode())
    )
    return DataSet(part.corpus, pl.concat([part.queries, others.select(part.queries.columns)]), part.qrels)
