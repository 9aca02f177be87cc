"""Examples of queries with relevant passages: distinct texts, what is relevant, what is a negative.

Tables are joined as tables; of the corpus, only a slice at a time is held as Python strings.
"""

from __future__ import annotations

import polars as pl

from sharpen.data.dataset import DataSet
from sharpen.data.relevance import Relevance
from sharpen.data.task_type import TaskType
from sharpen.data.text import passage_texts
from sharpen.errors import InputError
from sharpen.training.data.examples import TaskTables, TrainingTask, numbers_of
from sharpen.training.settings import TrainingSettings


def relevance_tables(
    data: DataSet, negatives: pl.DataFrame | None, training: TrainingSettings, task: TrainingTask | None = None
) -> TaskTables:
    """The examples of queries with relevant passages; arguments as for `make_examples`.

    Args:
        task: what is learned; None: search.
    """
    mined = data.given_negatives if negatives is None else negatives
    relevance = Relevance.of(data, training.relevance_level)
    texts, number_of = distinct_texts(data.corpus, relevance.passages)
    queries = data.queries.with_columns(pl.col("instruction", "source").fill_null(""), relevance.queries["query_key"])
    train = queries.filter(pl.col("split") == "train").sort("query_id")
    positives = relevance.positives().join(train.select("query_id"), on="query_id", how="semi")
    labelled = _numbered(positives, number_of).group_by("query_id", "number").agg(pl.col("grade").max())
    distills = training.knowledge_distillation and task is None
    teacher = _teacher(data, negatives, number_of) if distills else None
    usable = labelled if teacher is None else labelled.join(teacher, on=["query_id", "number"], how="semi")

    chosen = train.join(usable, on="query_id", how="semi", maintain_order="left")
    never = _never_negatives(relevance, chosen, texts)
    offered = pl.concat([mined.select("query_id", "passage_id"), relevance.irrelevant()])
    offered = _numbered(offered, number_of).unique().join(chosen.select("query_id", "query_key"), on="query_id")
    clean = offered.join(never, on=["query_key", "number"], how="anti")
    itself = offered.join(texts, left_on=["query_key", "number"], right_on=["text_key", "number"], how="semi").height
    counts = {
        "queries_without_positive": train.height - chosen.height,
        "positives_without_teacher_score": labelled.height - usable.height,
        "negatives_known_as_relevant": offered.height - clean.height - itself,
        "negatives_equal_to_their_query": itself,
        "queries": chosen.height,
        "texts": texts.height,
        "hard_negatives": clean.height,
    }
    check_sources(train, labelled, chosen, training)
    rows = _rows(chosen, usable, never, clean, _scores(teacher))
    return TaskTables(
        task or TrainingTask("search", TaskType.RETRIEVAL.value, "", 0, 0),
        rows,
        texts.select("text_id", "text", "text_key"),
        counts,
    )


def _rows(
    queries: pl.DataFrame,
    positives: pl.DataFrame,
    never: pl.DataFrame,
    negatives: pl.DataFrame,
    scores: pl.DataFrame,
) -> pl.DataFrame:
    """A row a query, as `TaskTables` has them: its texts by number, in lists."""
    table = queries
    for key, lists in (
        ("query_id", _lists(positives, "query_id", "positives", "grades")),
        ("query_key", _lists(never, "query_key", "never_negatives")),
        ("query_id", _lists(negatives, "query_id", "negatives")),
        ("query_id", scores),
    ):
        table = table.join(lists, on=key, how="left", maintain_order="left")
    return table.select(
        "query_id",
        "text",
        "instruction",
        numbers_of(table, "instruction", "text"),
        "query_key",
        "source",
        "positives",
        "grades",
        pl.col("never_negatives", "negatives", "scored").fill_null(pl.lit([], dtype=pl.List(pl.Int64))),
        pl.col("scores").fill_null(pl.lit([], dtype=pl.List(pl.Float64))),
    )


def check_sources(
    train: pl.DataFrame, labelled: pl.DataFrame, chosen: pl.DataFrame, training: TrainingSettings
) -> None:
    """Raise InputError when there is nothing to train on, in all or in a source, which must not vanish silently.

    Args:
        train: queries of the split.
        labelled: their positives.
        chosen: those that are trained on.
        training: says whether teacher scores are needed.
    """
    why = "a positive with a teacher score" if training.knowledge_distillation else "a relevant passage"
    if chosen.is_empty():
        if not labelled.is_empty():
            raise InputError("knowledge_distillation: no positive has a teacher score; add scores or turn it off")
        raise InputError("data: no query of the split train has a relevant passage; nothing to train on")
    left = train.group_by("source").len().join(chosen.select("source").unique(), on="source", how="anti").sort("source")
    if not left.is_empty():
        raise InputError(
            [
                f"source {name or '(unnamed)'}: none of its {count:,} training queries has {why}; give it some, or "
                "take the source out of the data"
                for name, count in left.iter_rows()
            ]
        )


def distinct_texts(corpus: pl.DataFrame, passages: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The distinct texts, to the letter, and which passage has which.

    Args:
        corpus: passage_id, title, text.
        passages: passage_id and text_key of the same rows.

    Returns:
        A table text_id, text, text_key, number of the texts, numbered by the first passage that has each; and a table
        passage_id, number.
    """
    texts = passages.with_columns(passage_texts(corpus))
    texts = texts.with_columns(number=numbers_of(texts, "text"))
    once = texts.unique("number", keep="first", maintain_order=True)
    return once.rename({"passage_id": "text_id"}), texts.select("passage_id", "number")


def _never_negatives(relevance: Relevance, queries: pl.DataFrame, texts: pl.DataFrame) -> pl.DataFrame:
    """query_key and number of the texts that are never negatives of queries with these keys."""
    never = relevance.never_negatives().join(queries.select("query_key").unique(), on="query_key", how="semi")
    return never.join(texts.select("text_key", "number"), on="text_key").select("query_key", "number")


def _numbered(pairs: pl.DataFrame, number_of: pl.DataFrame) -> pl.DataFrame:
    """The pairs with the number of the passage's text instead of passage_id."""
    return pairs.join(number_of, on="passage_id").drop("passage_id")


def _lists(pairs: pl.DataFrame, key: str, name: str, grades: str | None = None) -> pl.DataFrame:
    """For each `key`, its numbers in rising order as a column of lists, and their grades as another."""
    columns = [pl.col("number").alias(name), *([pl.col("grade").alias(grades)] if grades else [])]
    return pairs.sort("number").group_by(key, maintain_order=True).agg(columns)


def _teacher(data: DataSet, negatives: pl.DataFrame | None, number_of: pl.DataFrame) -> pl.DataFrame:
    """query_id, number, score: of several scores of a pair the highest; the data set's own before the negatives'."""
    tables = [data.teacher_scores.select("query_id", "passage_id", "score", own=pl.lit(True))]
    if negatives is not None:
        scores = negatives.select("query_id", "passage_id", pl.col("teacher_score").alias("score"))
        tables.append(scores.with_columns(own=pl.lit(False)))
    joined = pl.concat(tables).drop_nulls("score").join(number_of, on="passage_id")
    ordered = joined.sort("query_id", "number", "own", "score", descending=[False, False, True, True])
    return ordered.unique(["query_id", "number"], keep="first", maintain_order=True).select(
        "query_id", "number", "score"
    )


def _scores(teacher: pl.DataFrame | None) -> pl.DataFrame:
    """For each query_id, the texts with a teacher score and the scores, as two columns of lists."""
    if teacher is None:
        return pl.DataFrame(schema={"query_id": pl.String, "scored": pl.List(pl.Int64), "scores": pl.List(pl.Float64)})
    return teacher.group_by("query_id").agg(pl.col("number").alias("scored"), pl.col("score").alias("scores"))
