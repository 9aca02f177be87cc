"""Texts that are the same become one passage or one query, whatever ids and sources they came with."""

from __future__ import annotations

import polars as pl

from sharpen.data.dataset import OF_PAIRS, DataSet
from sharpen.data.generated import without_repeats_of_people
from sharpen.data.preparation.working_set import WorkingSet
from sharpen.data.readers.tables import best_of_pair, without_positives
from sharpen.data.task_type import TaskType
from sharpen.data.text import key_ids
from sharpen.hardware.sorted_keys import repeated
from sharpen.hardware.spill import on_disk

_COUNTS = ("passages_merged", "queries_merged", "pairs_merged", "given_negatives_that_are_positives")
_BY_SOURCE = [kind.value for kind in TaskType if not kind.has_instruction]


def merge(data: DataSet) -> WorkingSet:
    """Make passages unique by normalised text, and queries by normalised text within split, instruction and task type.

    Of several ids for one text, the smallest that the user gave is kept; an id that is a hash of the text only where
    there is no other. Queries that several sources share are merged too, because the positives of one would be false
    negatives of the other; the merged query belongs to the first source and the first group by name,
    and has the latest of the times. A generated query that is a person's, too, is dropped. Only queries of retrieval
    and reranking are merged across sources: a label means something within its source, and each source of similarity
    labels has its own scale.
    """
    read, data = data.queries.height, without_repeats_of_people(data)
    dropped = {"generated_queries_of_people_too": n} if (n := read - data.queries.height) else {}
    by_source = pl.when(pl.col("task_type").is_in(_BY_SOURCE)).then("source").otherwise(pl.lit(""))
    same = ["text_key", "split", "instruction", "task_type", "label", "by_source"]
    passage_ids = _replaced(data.corpus, ["text_key"], "passage_id")
    query_ids = _replaced(data.queries, same, "query_id", by_source=by_source)
    if passage_ids.is_empty() and query_ids.is_empty():
        return WorkingSet(data, dict.fromkeys(_COUNTS, 0) | dropped)
    renamed = {name: _renamed(getattr(data, name), passage_ids, query_ids) for name in OF_PAIRS}
    qrels = best_of_pair(renamed["qrels"], "grade", ["query_id", "passage_id", "split"])
    negatives = renamed["given_negatives"].unique()
    true_negatives = without_positives(negatives, qrels)
    merged = DataSet(
        corpus=on_disk(data.corpus.join(passage_ids, on="passage_id", how="anti").sort("passage_id")),
        queries=on_disk(_merged_queries(data.queries, query_ids)),
        qrels=on_disk(qrels),
        given_negatives=on_disk(true_negatives),
        teacher_scores=best_of_pair(renamed["teacher_scores"], "score", ["query_id", "passage_id"]),
        similarity_labels=best_of_pair(renamed["similarity_labels"], "label", ["query_id", "passage_id", "split"]),
        sources=data.sources,
    )
    fewer = (
        data.corpus.height - merged.corpus.height,
        data.queries.height - merged.queries.height,
        data.qrels.height - qrels.height,
        negatives.height - true_negatives.height,
    )
    return WorkingSet(merged, dict(zip(_COUNTS, fewer, strict=True)) | dropped)


def _replaced(table: pl.DataFrame, same: list[str], id_name: str, **more: pl.Expr) -> pl.DataFrame:
    """Ids for which another one (`survivor`) stands: among rows equal in `same`, of which text_key is one.

    Args:
        table: with the columns text_key and `id_name`.
        same: columns of the table, or `more` ones.
        id_name: column of the ids.
        more: columns that the table lacks.
    """
    again = repeated(table["text_key"])
    if again.is_empty():
        return pl.DataFrame(schema={id_name: pl.String, "survivor": pl.String})
    repeats = table.lazy().filter(pl.col("text_key").is_in(again.implode())).with_columns(**more)
    repeats = repeats.select(id_name, *same).collect(engine="streaming")
    made_up = pl.col(id_name) == key_ids(repeats["text_key"])
    survivors = repeats.sort(made_up, id_name).select(id_name, survivor=pl.col(id_name).first().over(same))
    return survivors.filter(pl.col(id_name) != pl.col("survivor"))


def _renamed(table: pl.DataFrame, passage_ids: pl.DataFrame, query_ids: pl.DataFrame) -> pl.DataFrame:
    columns = table.columns
    for ids, name in ((passage_ids, "passage_id"), (query_ids, "query_id")):
        if name in columns and not ids.is_empty():
            table = table.join(ids, on=name, how="left").with_columns(pl.coalesce("survivor", name).alias(name))
            table = table.select(columns)
    return table


def _merged_queries(queries: pl.DataFrame, query_ids: pl.DataFrame) -> pl.DataFrame:
    """The queries that are left, with what is known of those that they stand for."""
    if query_ids.is_empty():
        return queries
    # nothing known is less than anything known
    known = [column for column in ("fields", "time") if column in queries.columns]
    concerned = pl.concat([query_ids, query_ids.select(query_id="survivor", survivor="survivor").unique()])
    facts = queries.join(concerned, on="query_id").group_by("survivor")
    origins = facts.agg(pl.col("source", "group").min(), *(pl.col(column).max() for column in known))
    left = queries.join(query_ids, on="query_id", how="anti")
    return left.update(origins.rename({"survivor": "query_id"}), on="query_id", how="left").sort("query_id")
