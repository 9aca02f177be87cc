"""From a data set to numbered training examples: distinct texts, what is relevant, what is a negative.

Tables are joined as tables; of the corpus, only a slice at a time is held as Python strings.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from components.core.errors import InputError
from components.core.records import DataSet
from components.core.text import text_id
from components.finetuning.arrow import in_memory
from components.finetuning.examples import Examples, Facts
from components.finetuning.settings import TrainingSettings

SHOWN = 3
_SLICE = 20_000
# What str.strip() takes away, which is not all that polars does; there is none above U+3000.
_SPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))


def make_examples(data: DataSet, negatives: pl.DataFrame | None, training: TrainingSettings) -> Examples:
    """Number the training queries and texts of a data set, in memory.

    The numbers are a function of the tables' rows and not of their order: queries by query_id, texts by first
    passage_id.

    Args:
        data: the data set; its ``train`` split is trained on, the judgements of all splits are known positives.
        negatives: mined negatives (`records.NEGATIVES`); None: the negatives that came with the data.
        training: group size, distillation.

    Raises:
        InputError: nothing to train on, ids that the data set does not have, a source or a corpus that is too small,
            or no teacher scores for distillation.
    """
    mined = data.given_negatives if negatives is None else negatives
    _check_ids(data, mined)
    texts, number_of = _distinct_texts(data.corpus)
    queries = data.queries.with_columns(
        pl.col("instruction", "source").fill_null(""), _hashes(data.queries["text"]).alias("key")
    )
    relevant = _numbered(data.qrels.filter(pl.col("grade") > 0), number_of)
    train = queries.filter(pl.col("split") == "train").sort("query_id")
    judged = relevant.join(train.select("query_id"), on="query_id", how="semi")
    teacher = _teacher(data, negatives, number_of) if training.knowledge_distillation else None
    usable = judged if teacher is None else judged.join(teacher, on=["query_id", "number"], how="semi")

    # Every text that is relevant to any query with this text, in any split.
    known = relevant.join(queries.select("query_id", "key"), on="query_id").select("key", "number").unique()
    chosen = train.join(usable, on="query_id", how="semi", maintain_order="left")
    offered = _numbered(mined, number_of).join(chosen.select("query_id", "key"), on="query_id")
    clean = offered.join(known, on=["key", "number"], how="anti")
    counts = {
        "queries_without_positive": train.height - chosen.height,
        "positives_without_teacher_score": judged.height - usable.height,
        "negatives_known_as_relevant": offered.height - clean.height,
        "queries": chosen.height,
        "texts": texts.height,
        "hard_negatives": clean.height,
    }
    _check_sources(train, judged, chosen, training)
    table = (
        chosen.join(_lists(usable, "query_id", "positives"), on="query_id", how="left", maintain_order="left")
        .join(_lists(known, "key", "known"), on="key", how="left", maintain_order="left")
        .join(_lists(clean, "query_id", "negatives"), on="query_id", how="left", maintain_order="left")
        .join(_scores(teacher), on="query_id", how="left", maintain_order="left")
    )
    sources = sorted(chosen["source"].unique().to_list())
    empty = pl.lit([], dtype=pl.List(pl.Int64))
    table = table.select(
        "query_id",
        "text",
        "instruction",
        pl.struct("instruction", "key").rank("dense").cast(pl.Int64).alias("number"),
        pl.col("source").replace_strict(sources, range(len(sources)), return_dtype=pl.Int64),
        "positives",
        "known",
        pl.col("negatives").fill_null(empty),
        pl.col("scored").fill_null(empty),
        pl.col("scores").fill_null(pl.lit([], dtype=pl.List(pl.Float64))),
    )
    facts = Facts(sources, counts, teacher is not None)
    examples = Examples(in_memory(table), in_memory(texts), facts)
    check_enough(examples, training)
    return examples


def check_enough(examples: Examples, training: TrainingSettings) -> None:
    """Raise InputError when the corpus has too few texts for a group."""
    texts, most = len(examples.texts), max(map(len, examples.known))
    if texts - most < training.train_group_size - 1:
        raise InputError(
            f"train_group_size: {training.train_group_size} needs {training.train_group_size - 1} negatives for every "
            f"query, but the corpus has only {texts} different texts, {most} of them relevant to one query; lower it"
        )


def _check_ids(data: DataSet, negatives: pl.DataFrame) -> None:
    faults = []
    for name, table in (("qrels", data.qrels), ("negatives", negatives), ("teacher_scores", data.teacher_scores)):
        for column, known in (("query_id", data.queries["query_id"]), ("passage_id", data.corpus["passage_id"])):
            if table.is_empty():
                continue
            unknown = table.filter(~pl.col(column).is_in(known.implode()))[column].unique(maintain_order=True)
            if len(unknown):
                shown = ", ".join(unknown.head(SHOWN).to_list())
                faults.append(
                    f"{name}: {len(unknown):,} {column} values are not in the data set, such as {shown}; "
                    "use negatives that were mined on this data set"
                )
    if faults:
        raise InputError(faults)


def _check_sources(train: pl.DataFrame, judged: pl.DataFrame, chosen: pl.DataFrame, training: TrainingSettings) -> None:
    """Nothing to train on, in all or in a source: there is no sensible batch of it, and it must not vanish silently."""
    why = "a positive with a teacher score" if training.knowledge_distillation else "a relevant passage"
    if chosen.is_empty():
        if not judged.is_empty():
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


def _distinct_texts(corpus: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The distinct texts as a table text_id, text; and a table passage_id, number."""
    titled = pl.col("title").fill_null("") != ""
    # `core.text.passage_text` for columns: a text without a title stays as it is and is not copied.
    joined = pl.concat_str("title", "text", separator=" ").str.strip_chars(_SPACE)
    texts = corpus.select(
        "passage_id",
        pl.col("passage_id").alias("text_id"),
        pl.when(titled).then(joined).otherwise("text").alias("text"),
    )
    _, first, inverse = np.unique(_hashes(texts["text"]).to_numpy(), return_index=True, return_inverse=True)
    # Numbers follow the first passage that has the text.
    number = np.argsort(np.argsort(first))[inverse]
    passages = texts.select("passage_id", pl.Series("number", number, dtype=pl.Int64))
    texts = texts.select("text_id", "text")
    return (texts if len(first) == texts.height else texts[np.sort(first)]), passages


def _hashes(texts: pl.Series) -> pl.Series:
    """A 64-bit number for each text, equal where the normalised texts are (`core.text.text_id`)."""
    parts = [
        pl.Series([int(text_id(text), 16) for text in texts.slice(start, _SLICE).to_list()], dtype=pl.UInt64)
        for start in range(0, len(texts), _SLICE)
    ]
    return pl.concat(parts) if parts else pl.Series(dtype=pl.UInt64)


def _numbered(pairs: pl.DataFrame, number_of: pl.DataFrame) -> pl.DataFrame:
    """Distinct pairs query_id, number."""
    return pairs.select("query_id", "passage_id").join(number_of, on="passage_id").drop("passage_id").unique()


def _lists(pairs: pl.DataFrame, key: str, name: str) -> pl.DataFrame:
    """For each `key`, its numbers in rising order, as a column of lists."""
    return pairs.group_by(key).agg(pl.col("number").sort().alias(name))


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
