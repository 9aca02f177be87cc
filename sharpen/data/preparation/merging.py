"""Texts that are the same become one passage or one query, whatever ids and sources they came with."""

from __future__ import annotations

import polars as pl

from sharpen.data.dataset import OF_PAIRS, DataSet
from sharpen.data.preparation.working_set import WorkingSet
from sharpen.data.readers.tables import best_of_pair, without_positives
from sharpen.data.task_type import TaskType
from sharpen.data.text import key_id

_BY_SOURCE = [kind.value for kind in TaskType if not kind.has_instruction]


def merge(data: DataSet) -> WorkingSet:
    """Make passages unique by normalised text, and queries by normalised text within split, instruction and task type.

    Of several ids for one text, the smallest that the user gave is kept; an id that is a hash of the text only where
    there is no other. Queries that several sources share are merged too, because the positives of one would be false
    negatives of the other; the merged query belongs to the first source and the first group by name,
    and has the latest of the times. Only queries of retrieval and reranking are merged across sources: a label means
    something within its source, and each source of similarity labels has its own scale.
    """
    passages, queries = data.corpus, data.queries
    passage_ids = _survivors(passages, ["text_key"], "passage_id")
    by_source = pl.when(pl.col("task_type").is_in(_BY_SOURCE)).then("source").otherwise(pl.lit(""))
    same = ["text_key", "split", "instruction", "task_type", "label", "by_source"]
    query_ids = _survivors(queries.with_columns(by_source=by_source), same, "query_id")

    renamed = {name: _renamed(getattr(data, name), passage_ids, query_ids) for name in OF_PAIRS}
    qrels = best_of_pair(renamed["qrels"], "grade", ["query_id", "passage_id", "split"])
    negatives = renamed["given_negatives"].unique()
    true_negatives = without_positives(negatives, qrels)
    # nothing known is less than anything known
    known = [column for column in ("fields", "time") if column in queries.columns]
    origins = (
        _renamed(queries.select("query_id", "source", "group", *known), passage_ids, query_ids)
        .group_by("query_id")
        .agg(pl.col("source", "group").min(), *(pl.col(column).max() for column in known))
    )
    merged_queries = (
        queries.join(query_ids.filter(pl.col("query_id") == pl.col("survivor")), on="query_id", how="semi")
        .drop("source", "group", *known)
        .join(origins, on="query_id")
        .sort("query_id")
    )
    corpus = passages.join(passage_ids.filter(pl.col("passage_id") == pl.col("survivor")), on="passage_id", how="semi")
    return WorkingSet(
        DataSet(
            corpus=corpus.select(data.corpus.columns).sort("passage_id"),
            queries=merged_queries.select(data.queries.columns),
            qrels=qrels,
            given_negatives=true_negatives,
            teacher_scores=best_of_pair(renamed["teacher_scores"], "score", ["query_id", "passage_id"]),
            similarity_labels=best_of_pair(renamed["similarity_labels"], "label", ["query_id", "passage_id", "split"]),
            sources=data.sources,
        ),
        {
            "passages_merged": data.corpus.height - corpus.height,
            "queries_merged": data.queries.height - merged_queries.height,
            "pairs_merged": data.qrels.height - qrels.height,
            "given_negatives_that_are_positives": negatives.height - true_negatives.height,
        },
    )


def _survivors(table: pl.DataFrame, same: list[str], id_name: str) -> pl.DataFrame:
    """Every id with the id (`survivor`) that stands for it: among rows equal in `same`."""
    made_up = pl.col(id_name) == pl.Series(map(key_id, table["text_key"]), dtype=pl.String)
    return (
        table.select(id_name, *same).sort(made_up, id_name).select(id_name, survivor=pl.col(id_name).first().over(same))
    )


def _renamed(table: pl.DataFrame, passage_ids: pl.DataFrame, query_ids: pl.DataFrame) -> pl.DataFrame:
    columns = table.columns
    for ids, name in ((passage_ids, "passage_id"), (query_ids, "query_id")):
        if name in columns:
            table = table.join(ids, on=name).drop(name).rename({"survivor": name})
    return table.select(columns)
