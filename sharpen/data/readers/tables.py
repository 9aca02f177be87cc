"""Rows on their way to becoming the tables of a `DataSet`."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from sharpen.data.dataset import (
    CORPUS,
    GIVEN_NEGATIVES,
    OPTIONAL_COLUMNS,
    QRELS,
    QUERIES,
    SIMILARITY_LABELS,
    TEACHER_SCORES,
    TEXT_KEY,
    DataSet,
)
from sharpen.data.readers.rows import ReadReport
from sharpen.data.relevance import Frame, relevant
from sharpen.data.task_type import TaskType
from sharpen.data.text import key_id, passage_text, passage_texts, text_key
from sharpen.hardware.sorted_keys import distinct
from sharpen.hardware.spill import Rows, mapped, same_values, with_column

_GROUPS = {"query_id": pl.String, "group": pl.String}
_TYPES, _FACTS = (
    {"query_id": pl.String, **{name: OPTIONAL_COLUMNS["queries"][name][0] for name in names}}
    for names in (("task_type", "label"), ("fields", "time"))
)
_KEYS_REMEMBERED = 50_000


class DataSetBuilder:
    """Collects passages, queries, judgements, negatives and scores; `data_set` makes the tables of them.

    The result does not depend on the order of the rows: where two texts share an id, the smaller one is kept. It is not
    held in memory where it is large (`hardware.spill`).
    """

    def __init__(self) -> None:
        self._keys: dict[str, int] = {}
        self._passages = Rows(CORPUS | TEXT_KEY)
        self._queries = Rows({name: kind for name, kind in QUERIES.items() if name != "group"} | TEXT_KEY)
        self._groups = Rows(_GROUPS)
        self._qrels = Rows(QRELS)
        self._negatives = Rows(GIVEN_NEGATIVES)
        self._scores = Rows(TEACHER_SCORES)
        self._similarities = Rows(SIMILARITY_LABELS)
        self._types = Rows(_TYPES)
        self._facts = Rows(_FACTS)
        self._texts_of_ids: dict[str, int] = {}

    def key(self, text: str) -> int:
        """`text_key`, remembered for the last texts: the same passages stand on many rows."""
        if (found := self._keys.get(text)) is None:
            if len(self._keys) >= _KEYS_REMEMBERED:
                self._keys.clear()
            found = self._keys[text] = text_key(text)
        return found

    def passage_by_text(self, text: str) -> str:
        """Add a passage without a title and return its id, made from its text."""
        key = self.key(text)
        passage_id = key_id(key)
        self._passages.add(passage_id, "", text, key)
        return passage_id

    def query_by_text(
        self,
        text: str,
        split: str,
        source: str,
        instruction: str,
        group: str = "",
        *,
        task_type: TaskType = TaskType.RETRIEVAL,
        label: str = "",
    ) -> str:
        """Add a query and return its id, made from instruction, task type, label and text: where one differs, the
        query is another one.

        Args:
            text, instruction: of which the id is made.
            split, source, group, task_type, label: see `add_query`.
        """
        kind = "" if task_type is TaskType.RETRIEVAL else f"{task_type}\n{label}"
        parts = [part for part in (kind, instruction, text) if part]
        query_id = key_id(self.key("\n".join(parts)))
        self.add_query(query_id, text, split, source, instruction, group, task_type=task_type, label=label)
        return query_id

    def add_passage(self, passage_id: str, title: str, text: str) -> None:
        """Add a passage, with `title` (may be empty) and `text`, under a `passage_id` that the user gave it alone."""
        self._texts_of_ids[passage_id] = hash((title, text))
        self._passages.add(passage_id, title, text, self.key(passage_text(title, text)))

    def add_query(
        self,
        query_id: str,
        text: str,
        split: str,
        source: str,
        instruction: str,
        group: str = "",
        *,
        task_type: TaskType = TaskType.RETRIEVAL,
        label: str = "",
    ) -> None:
        """Add a query under an id; of several groups the smallest counts, an empty one is none.

        Args:
            query_id, text, split, source: as in the table of queries.
            instruction: before the text; empty: the model's prompt.
            group: of queries that a split keeps together.
            task_type: what the query is for.
            label: of a text of classification or clustering.
        """
        self._queries.add(query_id, text, split, source, instruction, self.key(text))
        if task_type is not TaskType.RETRIEVAL:
            self._types.add(query_id, task_type.value, label)
        if group:
            self._groups.add(query_id, group)

    def is_free(self, passage_id: str, text: str, title: str = "") -> bool:
        """Whether a `passage_id` stands for no passage yet, or for one with this `text` and `title`."""
        return passage_id not in self._texts_of_ids or self._texts_of_ids[passage_id] == hash((title, text))

    def describe_query(self, query_id: str, fields: str, time: datetime | None) -> None:
        """Say what is known of a query `query_id` besides texts, its `fields` and `time`: of several the latest."""
        if fields or time:
            self._facts.add(query_id, fields, time)

    def add_qrel(self, query_id: str, passage_id: str, grade: int, split: str) -> None:
        """Add a judgement to a `split`; the highest `grade` of a pair `query_id`, `passage_id` counts."""
        self._qrels.add(query_id, passage_id, grade, split)

    def add_negative(self, query_id: str, passage_id: str) -> None:
        """Add a negative that the user brought."""
        self._negatives.add(query_id, passage_id)

    def add_score(self, query_id: str, passage_id: str, score: float) -> None:
        """Add a teacher's score; the highest `score` of a pair `query_id`, `passage_id` counts."""
        self._scores.add(query_id, passage_id, score)

    def add_similarity(self, query_id: str, passage_id: str, label: float, split: str) -> None:
        """Add how alike a pair (sts) is, in a `split`; the highest `label` of `query_id`, `passage_id` counts."""
        self._similarities.add(query_id, passage_id, label, split)

    def extend(self, **tables: pl.DataFrame) -> None:
        """Add whole tables, by their name: passages, queries, groups, qrels, negatives, scores or types."""
        for name, table in tables.items():
            rows: Rows = getattr(self, f"_{name}")
            rows.extend(table.select(*rows.schema))

    def data_set(self, report: ReadReport, shown: str) -> DataSet:
        """The tables, each sorted by its ids, pairs once; notices name `shown`."""
        triple = ["query_id", "passage_id", "split"]
        qrels = self._qrels.by_ranges("query_id", lambda rows: best_of_pair(rows, "grade", triple))
        report.notice(f"{shown}: judged pair repeated", len(self._qrels) - qrels.height)
        given = self._table(self._negatives.lazy().unique())
        negatives = given if given.is_empty() else self._table(without_positives(given.lazy(), qrels.lazy()))
        report.notice(f"{shown}: given negative is a positive of its query", given.height - negatives.height)
        report.repeats["negative is a positive"] += given.height - negatives.height
        for kind, rows in (("query", self._queries), ("passage", self._passages)):
            _count_repeats(kind, rows, report)
        data = DataSet(
            corpus=self._passages.by_ranges("passage_id", lambda rows: _smallest(rows, "passage_id")),
            queries=self._query_rows(),
            qrels=qrels,
            given_negatives=negatives,
            teacher_scores=self._table(best_of_pair(self._scores.lazy(), "score", triple[:2])),
            similarity_labels=self._table(best_of_pair(self._similarities.lazy(), "label", triple)),
        )
        for kind, pairs in label_values(self._qrels.lazy(), self._similarities.lazy()).items():
            if not (found := contradictions(pairs, ["query_id", "passage_id"], data)).is_empty():
                report.conflicts.setdefault(kind, []).append(found)
        several = self._groups.by_ranges("query_id", _with_several_groups)
        if not several.is_empty():
            named = several.lazy().join(data.queries.lazy().select("query_id", "text_key"), on="query_id")
            report.groups |= set(named.select("text_key", "group").collect().iter_rows())
        return data

    def _table(self, query: pl.LazyFrame) -> pl.DataFrame:
        """The result of a query, in memory only where all that is collected here is."""
        is_large = any(rows.on_disk for rows in vars(self).values() if isinstance(rows, Rows))
        return mapped(query) if is_large else query.collect()

    def _query_rows(self) -> pl.DataFrame:
        first = self._queries.by_ranges("query_id", lambda rows: _first_of_each(rows, "query_id"))
        columns = [*QUERIES, *TEXT_KEY]
        if not any(map(len, (self._groups, self._types, self._facts))):
            return first.with_columns(group=pl.lit(None, pl.String)).select(columns)
        groups = self._groups.by_ranges("query_id", lambda rows: _smallest(rows, "query_id"))
        if not len(self._types) and not len(self._facts) and same_values(first["query_id"], groups["query_id"]):
            return with_column(first, groups["group"]).select(columns)
        rows = first.lazy().join(groups.lazy(), on="query_id", how="left")
        if len(self._types):
            types = self._types.by_ranges("query_id", lambda rows: _first_of_each(rows, "query_id"))
            rows = rows.join(types.lazy(), on="query_id", how="left")
            columns += ["task_type", "label"]
        if len(self._facts):
            facts = self._facts.lazy().group_by("query_id").agg(pl.col("fields", "time").max())
            rows = rows.join(facts, on="query_id", how="left")
            columns += ["fields", "time"]
        defaults = {name: default for name, (_, default) in OPTIONAL_COLUMNS["queries"].items() if default is not None}
        rows = rows.with_columns(pl.col(name).fill_null(defaults[name]) for name in columns if name in defaults)
        return self._table(rows.select(columns).sort("query_id"))


def _count_repeats(kind: str, rows: Rows, report: ReadReport) -> None:
    """Count the rows whose text came before, to the letter or as another spelling of the same."""
    columns = [name for name in ("title", "text") if name in rows.schema]
    hashes = rows.lazy().select(pl.concat_str(columns, separator="\n").hash().alias("text"), "text_key")
    # one after the other, so that only one is in memory
    texts, keys = (distinct(hashes.select(name).collect(engine="streaming")[name]) for name in ("text", "text_key"))
    report.repeats[f"{kind} exact"] += len(rows) - texts
    report.repeats[f"{kind} normalised"] += texts - keys


def label_values(qrels: Frame, similarity_labels: Frame) -> dict[str, Frame]:
    """relevance and similarity -> query_id, passage_id, value of the pairs in both tables."""
    return {
        "relevance": qrels.select("query_id", "passage_id", value=(pl.col("grade") > 0).cast(pl.Float64)),
        "similarity": similarity_labels.select("query_id", "passage_id", value="label"),
    }


def one_value(pairs: pl.LazyFrame) -> bool:
    """Whether all of the pairs have the same value."""
    value = pl.col("value")
    return pairs.select(value.min() == value.max()).collect(engine="streaming").item() is not False


def contradictions(pairs: pl.LazyFrame, same: list[str], data: DataSet) -> pl.DataFrame:
    """The pairs that are equal in the columns `same` and have several values: text, passage, values.

    Args:
        pairs: query_id, passage_id, value and the columns `same`.
        same: what is the same pair.
        data: where the texts stand.
    """
    value = pl.col("value")
    if one_value(pairs):
        return pl.DataFrame(schema=dict.fromkeys(("text", "passage", "values"), pl.String))
    several = pairs.group_by(same).agg(
        query=pl.col("query_id").min(), passage=pl.col("passage_id").min(), low=value.min(), high=value.max()
    )
    found = several.filter(pl.col("low") != pl.col("high")).collect().sort("query", "passage")
    texts = data.corpus.join(found, left_on="passage_id", right_on="passage", how="semi")
    texts = texts.select(pl.col("passage_id").alias("passage"), passage_texts(texts).alias("passage_text"))
    shown = found.join(data.queries, left_on="query", right_on="query_id", maintain_order="left")
    shown = shown.join(texts, on="passage", maintain_order="left")
    return shown.select("text", passage="passage_text", values=pl.concat_str("low", "high", separator=" and "))


def _first_of_each(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """Of the rows with one `key` the smallest, by the columns in their order; sorted by the key."""
    repeated = pl.col(key).is_duplicated()
    ordered = rows.filter(repeated).sort(rows.columns)
    first = ordered.filter(pl.col(key).ne_missing(pl.col(key).shift(1)))
    return pl.concat([rows.filter(~repeated), first]).sort(key)


def _with_several_groups(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.unique(maintain_order=True).filter(pl.len().over("query_id") > 1)


def _smallest(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """One row for each `key`, with the smallest value of every other column; sorted by the key."""
    repeated = pl.col(key).is_duplicated()
    smallest = rows.filter(repeated).group_by(key).agg(pl.all().min())
    return pl.concat([rows.filter(~repeated), smallest.select(rows.columns)]).sort(key)


def best_of_pair(table: Frame, value: str, keys: list[str]) -> Frame:
    """One row of the `table` for each combination of `keys`, with the highest `value`, sorted by `keys`."""
    columns = table.collect_schema().names()
    return table.group_by(keys).agg(pl.col(value).max()).select(columns).sort(keys)  # type: ignore[return-value]


def without_positives(negatives: Frame, qrels: Frame) -> Frame:
    """The negatives that are no positives of their query, sorted by query_id and passage_id."""
    positives = relevant(qrels).select("query_id", "passage_id")
    pair = ["query_id", "passage_id"]
    return negatives.join(positives, on=pair, how="anti").sort(pair)  # type: ignore[arg-type,return-value]
