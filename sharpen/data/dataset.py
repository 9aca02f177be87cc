"""The data set that passes between steps: passages, queries and judgements, stored once and referred to by id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sharpen.data.fingerprint import fingerprint
from sharpen.data.parquet import parquet_faults, read_parquet
from sharpen.data.task_type import TaskType
from sharpen.data.text import passage_texts, text_keys
from sharpen.errors import InputError
from sharpen.hardware.spill import with_constant
from sharpen.store import storage

SPLITS = ("train", "dev", "test")

Schema = Mapping[str, type[pl.DataType] | pl.DataType]

# Columns that a data set is made from; `text_key` comes as the last one of the corpus and of the queries.
CORPUS = {"passage_id": pl.String, "title": pl.String, "text": pl.String}
QUERIES = {
    "query_id": pl.String,
    "text": pl.String,
    "split": pl.String,
    "source": pl.String,
    "instruction": pl.String,
    "group": pl.String,
}
QRELS = {"query_id": pl.String, "passage_id": pl.String, "grade": pl.Int32, "split": pl.String}
GIVEN_NEGATIVES = {"query_id": pl.String, "passage_id": pl.String}
TEACHER_SCORES = {"query_id": pl.String, "passage_id": pl.String, "score": pl.Float64}
SIMILARITY_LABELS = {"query_id": pl.String, "passage_id": pl.String, "label": pl.Float64, "split": pl.String}
SOURCES = {"source": pl.String, "weight": pl.Float64, "in_batch": pl.String}
NEGATIVES = {
    "query_id": pl.String,
    "passage_id": pl.String,
    "rank": pl.Int32,
    "score": pl.Float32,
    "positive_score": pl.Float32,
    "teacher_score": pl.Float64,
    "picked_by": pl.String,
}

INCONSISTENT_QUERIES = {
    "query_id": pl.String,
    "best_positive_rank": pl.Int32,
    "positive_score": pl.Float32,
    "dropped": pl.Boolean,
}

_TABLES = {
    "corpus": CORPUS,
    "queries": QUERIES,
    "qrels": QRELS,
    "given_negatives": GIVEN_NEGATIVES,
    "teacher_scores": TEACHER_SCORES,
    "similarity_labels": SIMILARITY_LABELS,
    "sources": SOURCES,
}
TABLES = tuple(_TABLES)
OF_PAIRS = tuple(name for name, schema in _TABLES.items() if {"query_id", "passage_id"} <= schema.keys())
"""Tables of pairs of a query and a passage."""
_OPTIONAL = ("given_negatives", "teacher_scores", "similarity_labels", "sources")
# tables that count as part of the data only where they have rows, so that data without them stay what they were
_LATER_TABLES = ("similarity_labels", "sources")
TEXT_KEY = {"text_key": pl.UInt64}
_KEYED = ("corpus", "queries")
# columns that data sets written by earlier versions lack
_LATER = {"corpus": ("text_key",), "queries": ("text_key", "group")}

# Columns that a table has where somebody knows something of some row, and what stands in the other rows.
OPTIONAL_COLUMNS: dict[str, dict[str, tuple[type[pl.DataType] | pl.DataType, Any]]] = {
    "corpus": {"language": (pl.String, "")},
    "queries": {
        "fields": (pl.String, ""),
        "time": (pl.Datetime("us", "UTC"), None),
        "task_type": (pl.String, TaskType.RETRIEVAL.value),
        "label": (pl.String, ""),
        "language": (pl.String, ""),
    },
}


def empty(schema: Schema) -> pl.DataFrame:
    """A table of this schema without rows."""
    return pl.DataFrame(schema=dict(schema))


@dataclass
class DataSet:
    """Queries, passages and judgements. Tables made by hand may lack text_key, which is computed then, and the columns
    group, task_type and label.

    Attributes:
        corpus: one row a passage, sorted by passage_id, ids unique: passage_id, title, text, and text_key, the
            `data.text.text_key` of title and text.
        queries: one row a query, sorted by query_id, ids unique: query_id, text, split (the only one it is in), source
            (name of the input), instruction (empty: the model's), group, text_key. Queries of one group come from one
            document or belong together otherwise, so their results are not independent; null: none known. Of
            `OPTIONAL_COLUMNS` those of which something is known: fields (a JSON object of texts, empty: none), time,
            language (ISO 639-1, empty: not known; the corpus may have it, too);
            and always task_type (a `TaskType`) and label (of texts of classification or clustering;
            empty: none).
        qrels: judged pairs: query_id, passage_id, grade, split; `data.relevance` says what grades mean.
        given_negatives: negatives that the user brought: query_id, passage_id.
        teacher_scores: scores of a teacher for pairs, positive or negative: query_id, passage_id, score.
        similarity_labels: how alike people find the texts of a pair (sts): query_id, passage_id, label, split; the
            labels of one source are on one scale.
        sources: sources that are trained in another way than the rest: source, weight (how often its queries come,
            beside a source of as many queries and weight 1), in_batch (``all`` or ``own_group``, as `SourceSettings`).
    """

    corpus: pl.DataFrame
    queries: pl.DataFrame
    qrels: pl.DataFrame
    given_negatives: pl.DataFrame = field(default_factory=lambda: empty(GIVEN_NEGATIVES))
    teacher_scores: pl.DataFrame = field(default_factory=lambda: empty(TEACHER_SCORES))
    similarity_labels: pl.DataFrame = field(default_factory=lambda: empty(SIMILARITY_LABELS))
    sources: pl.DataFrame = field(default_factory=lambda: empty(SOURCES))
    # as the manifest says; `replace` does not copy it
    _stored_fingerprint: str = field(default="", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if "group" not in self.queries.columns:
            self.queries = with_constant(self.queries, "group", None, pl.String)
        if "text_key" not in self.corpus.columns:
            self.corpus = self.corpus.with_columns(text_keys(passage_texts(self.corpus)))
        if "text_key" not in self.queries.columns:
            self.queries = self.queries.with_columns(text_keys(self.queries["text"]))
        self.queries = with_optional("queries", self.queries, ("task_type", "label"))

    def queries_of(self, split: str) -> pl.DataFrame:
        """The queries of one split, sorted by query_id."""
        return self.queries.filter(pl.col("split") == split).sort("query_id")

    def qrels_of(self, split: str) -> dict[str, dict[str, int]]:
        """query_id -> passage_id -> grade for one split, as trec_eval has it."""
        found: dict[str, dict[str, int]] = {}
        for query_id, passage_id, grade in (
            self.qrels.filter(pl.col("split") == split).select("query_id", "passage_id", "grade").iter_rows()
        ):
            found.setdefault(query_id, {})[passage_id] = grade
        return found

    def passage_texts(self) -> list[str]:
        """What is encoded for each passage, in the order of `corpus`."""
        return passage_texts(self.corpus).to_list()

    def counts(self) -> dict[str, int]:
        """Rows of each table that is part of the data."""
        return {name: getattr(self, name).height for name in self._parts()}

    def _parts(self) -> dict[str, Schema]:
        """Name and columns, without text_key, of the tables that are part of the data."""
        parts: dict[str, Schema] = {}
        for name, schema in _TABLES.items():
            table: pl.DataFrame = getattr(self, name)
            if not (name in _LATER_TABLES and table.is_empty()):
                parts[name] = {**schema, **_known_columns(name, table)}
        return parts

    def fingerprint(self) -> str:
        """`data.fingerprint.fingerprint` of the tables without what follows from their texts (text_key, language); a
        finished data set has it in its manifest."""
        if self._stored_fingerprint:
            return self._stored_fingerprint
        parts = {
            name: {column: kind for column, kind in schema.items() if column != "language"}
            for name, schema in self._parts().items()
        }
        return fingerprint({name: _cast(getattr(self, name), schema) for name, schema in parts.items()})

    def save(self, folder: Path) -> None:
        """Write every table as ``<folder>/<table>/part-00000.parquet``; optional tables without rows are left out."""
        for name, schema in self._parts().items():
            table: pl.DataFrame = getattr(self, name)
            if not (name in _OPTIONAL and table.is_empty()):
                write_table(table, folder / name, {**schema, **TEXT_KEY} if name in _KEYED else schema)

    @classmethod
    def load(cls, folder: Path) -> DataSet:
        """Read what `save` wrote. Raises InputError when a table is missing or lacks a column."""
        tables = {}
        for name, schema in _TABLES.items():
            if name in _OPTIONAL and not (folder / name).is_dir():
                tables[name] = empty(schema)
            else:
                optional = {column: kind for column, (kind, _) in OPTIONAL_COLUMNS.get(name, {}).items()}
                stored = {**schema, **optional, **(TEXT_KEY if name in _KEYED else {})}
                tables[name] = read_table(folder / name, stored, [*_LATER.get(name, ()), *optional])
        data = cls(**tables)
        if storage.is_complete(str(folder)):
            data._stored_fingerprint = str(storage.read_manifest(str(folder)).facts.get("fingerprint", ""))
        return data

    @classmethod
    def open(cls, uri: str) -> DataSet:
        """The finished data set at an address (`storage.open_artifact`)."""
        return cls.load(storage.open_artifact(uri))


def _known_columns(name: str, table: pl.DataFrame) -> Schema:
    """The optional columns of a table that say something of some row."""
    known: dict[str, type[pl.DataType] | pl.DataType] = {}
    for column, (kind, default) in OPTIONAL_COLUMNS.get(name, {}).items():
        nothing = pl.lit(default, dtype=kind)
        if column in table.columns and table.select(pl.col(column).ne_missing(nothing).any()).item():
            known[column] = kind
    return known


def with_optional(name: str, table: pl.DataFrame, columns: Iterable[str]) -> pl.DataFrame:
    """The table with these optional columns; those that it lacks hold what stands for nothing known.

    Args:
        name: of the table, ``queries`` or ``corpus``.
        table: its rows.
        columns: of `OPTIONAL_COLUMNS`.
    """
    for column in columns:
        if column not in table.columns:
            kind, default = OPTIONAL_COLUMNS[name][column]
            table = with_constant(table, column, default, kind)
    return table


def stack(name: str, tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The rows of several tables called `name`, with the optional columns that any of the `tables` has."""
    optional = [column for column in OPTIONAL_COLUMNS.get(name, {}) if any(column in table.columns for table in tables)]
    required = [column for column in tables[0].columns if column not in optional]
    filled = [with_optional(name, table, optional) if optional else table for table in tables]
    return pl.concat([table.select(*required, *optional) for table in filled])


def _cast(table: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    return table.select([pl.col(name).cast(kind) for name, kind in schema.items()])


def write_table(table: pl.DataFrame, folder: Path, schema: Schema) -> None:
    """Write a table of `schema` as one Parquet part in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    _cast(table, schema).write_parquet(folder / "part-00000.parquet", compression="zstd")


def read_table(folder: Path, schema: Schema, optional: Sequence[str] = ()) -> pl.DataFrame:
    """Read all Parquet parts of `folder` in name order; columns of `schema` only.

    Args:
        folder: of the table.
        schema: its columns.
        optional: those of them that the files may lack; so does the table then.

    Raises:
        InputError: no file, a column is missing, or a file is damaged.
    """
    parts = sorted(folder.glob("*.parquet"))
    if not parts:
        raise InputError(f"{folder}: no *.parquet file; this is not a folder that Sharpen wrote")
    tables = [read_parquet(part, str(part)) for part in parts]
    with parquet_faults(str(folder)):
        table = pl.concat(tables)
    missing = [name for name in schema if name not in table.columns]
    if needed := [name for name in missing if name not in optional]:
        raise InputError(f"{parts[0]}: column {', '.join(needed)} is missing; expected {', '.join(schema)}")
    with parquet_faults(str(folder)):
        return _cast(table, {name: kind for name, kind in schema.items() if name not in missing})


def with_groups(queries: pl.DataFrame) -> pl.DataFrame:
    """The queries, each without a group as a group of its own, called by its id; the column may be missing."""
    if "group" not in queries.columns:
        return queries.with_columns(group="query_id")
    if not queries["group"].null_count():
        return queries
    return queries.with_columns(group=pl.coalesce("group", "query_id"))


def unique(values: Iterable[str]) -> list[str]:
    """The values without repeats, in first-seen order."""
    return list(dict.fromkeys(values))
