"""Rows on their way to becoming the tables of a `DataSet`."""

from __future__ import annotations

from collections.abc import Mapping
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
    DataSet,
)
from sharpen.data.readers.rows import ReadReport
from sharpen.data.relevance import relevant
from sharpen.data.task_type import TaskType
from sharpen.data.text import key_id, passage_texts, text_key


class DataSetBuilder:
    """Collects passages, queries, judgements, negatives and scores; `data_set` makes the tables of them.

    The result does not depend on the order of the rows: where two texts share an id, the smaller one is kept.
    """

    def __init__(self) -> None:
        self._passages: dict[str, tuple[str, str]] = {}
        self._queries: dict[str, tuple[str, str, str, str]] = {}
        self._groups: dict[str, set[str]] = {}
        self._types: dict[str, tuple[str, str]] = {}
        self._facts: dict[str, tuple[str, datetime | None]] = {}
        self._keys: dict[str, int] = {}
        self._qrels: dict[str, list] = {name: [] for name in QRELS}
        self._negatives: dict[str, list] = {name: [] for name in GIVEN_NEGATIVES}
        self._scores: dict[str, list] = {name: [] for name in TEACHER_SCORES}
        self._similarities: dict[str, list] = {name: [] for name in SIMILARITY_LABELS}

    def key(self, text: str) -> int:
        """`text_key`, remembered: the same passages stand on many rows."""
        if (found := self._keys.get(text)) is None:
            found = self._keys[text] = text_key(text)
        return found

    def passage_by_text(self, text: str) -> str:
        """Add a passage without a title and return its id, made from its text."""
        passage_id = key_id(self.key(text))
        self._passages[passage_id] = min(("", text), self._passages.get(passage_id, ("", text)))
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
        """Add a passage, with `title` (may be empty) and `text`, under the `passage_id` that the user gave."""
        self._passages[passage_id] = (title, text)

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
        row = (text, split, source, instruction)
        self._queries[query_id] = min(row, self._queries.get(query_id, row))
        if task_type is not TaskType.RETRIEVAL:
            self._types[query_id] = min((task_type.value, label), self._types.get(query_id, (task_type.value, label)))
        if group:
            self._groups.setdefault(query_id, set()).add(group)

    def is_free(self, passage_id: str, text: str, title: str = "") -> bool:
        """Whether a `passage_id` stands for no passage yet, or for one with this `text` and `title`."""
        return self._passages.get(passage_id, (title, text)) == (title, text)

    def describe_query(self, query_id: str, fields: str, time: datetime | None) -> None:
        """Say what is known of a query `query_id` besides texts, its `fields` and `time`: of several the latest."""
        if fields or time:
            found = self._facts.get(query_id, ("", None))
            later = max(filter(None, (time, found[1])), default=None)
            self._facts[query_id] = (max(fields, found[0]), later)

    def add_qrel(self, query_id: str, passage_id: str, grade: int, split: str) -> None:
        """Add a judgement to a `split`; the highest `grade` of a pair `query_id`, `passage_id` counts."""
        for name, value in zip(QRELS, (query_id, passage_id, grade, split), strict=True):
            self._qrels[name].append(value)

    def add_negative(self, query_id: str, passage_id: str) -> None:
        """Add a negative that the user brought."""
        self._negatives["query_id"].append(query_id)
        self._negatives["passage_id"].append(passage_id)

    def add_score(self, query_id: str, passage_id: str, score: float) -> None:
        """Add a teacher's score; the highest `score` of a pair `query_id`, `passage_id` counts."""
        for name, value in zip(TEACHER_SCORES, (query_id, passage_id, score), strict=True):
            self._scores[name].append(value)

    def add_similarity(self, query_id: str, passage_id: str, label: float, split: str) -> None:
        """Add how alike a pair (sts) is, in a `split`; the highest `label` of `query_id`, `passage_id` counts."""
        for name, value in zip(SIMILARITY_LABELS, (query_id, passage_id, label, split), strict=True):
            self._similarities[name].append(value)

    def data_set(self, report: ReadReport, shown: str) -> DataSet:
        """The tables, each sorted by its ids, pairs once; notices name `shown`."""
        qrels = best_of_pair(pl.DataFrame(self._qrels, schema=QRELS), "grade", ["query_id", "passage_id", "split"])
        report.notice(f"{shown}: judged pair repeated", len(self._qrels["query_id"]) - qrels.height)
        given = pl.DataFrame(self._negatives, schema=GIVEN_NEGATIVES).unique().sort("query_id", "passage_id")
        negatives = without_positives(given, qrels)
        report.notice(f"{shown}: given negative is a positive of its query", given.height - negatives.height)
        corpus = _frame(self._passages, CORPUS, "passage_id")
        queries = _frame(
            {key: (*row, min(self._groups.get(key, ()), default=None)) for key, row in self._queries.items()},
            QUERIES,
            "query_id",
        )
        report.groups |= {
            (self.key(self._queries[query_id][0]), group)
            for query_id, groups in self._groups.items()
            if len(groups) > 1
            for group in groups
        }
        return DataSet(
            corpus=corpus.with_columns(self._keys_of(passage_texts(corpus))),
            queries=queries.with_columns(self._keys_of(queries["text"]), *self._optional_columns(queries["query_id"])),
            qrels=qrels,
            given_negatives=negatives,
            teacher_scores=best_of_pair(
                pl.DataFrame(self._scores, schema=TEACHER_SCORES), "score", ["query_id", "passage_id"]
            ),
            similarity_labels=best_of_pair(
                pl.DataFrame(self._similarities, schema=SIMILARITY_LABELS), "label", ["query_id", "passage_id", "split"]
            ),
        )

    def _optional_columns(self, query_ids: pl.Series) -> list[pl.Series]:
        """Those of the columns task_type and label, and fields and time, of which something is known."""
        made = []
        for found, names in ((self._types, ("task_type", "label")), (self._facts, ("fields", "time"))):
            kinds = [OPTIONAL_COLUMNS["queries"][name] for name in names]
            if not found:
                continue
            usual = tuple(default for _, default in kinds)
            columns = zip(*(found.get(query_id, usual) for query_id in query_ids), strict=True)
            made += [
                pl.Series(name, column, kind) for name, column, (kind, _) in zip(names, columns, kinds, strict=True)
            ]
        return made

    def _keys_of(self, texts: pl.Series) -> pl.Series:
        """The column text_key of texts; those that had to be known before are not normalised again."""
        known = self._keys
        keys = [known[text] if text in known else text_key(text) for text in texts]
        return pl.Series("text_key", keys, dtype=pl.UInt64)


def _frame(
    rows: Mapping[str, tuple[str | None, ...]], schema: Mapping[str, type[pl.DataType]], key: str
) -> pl.DataFrame:
    columns = list(zip(*rows.values(), strict=True)) or [()] * (len(schema) - 1)
    return pl.DataFrame(dict(zip(schema, [list(rows), *columns], strict=True)), schema=schema).sort(key)


def best_of_pair(table: pl.DataFrame, value: str, keys: list[str]) -> pl.DataFrame:
    """One row of the `table` for each combination of `keys`, with the highest `value`, sorted by `keys`."""
    return table.group_by(keys).agg(pl.col(value).max()).select(table.columns).sort(keys)


def without_positives(negatives: pl.DataFrame, qrels: pl.DataFrame) -> pl.DataFrame:
    """The negatives that are no positives of their query, sorted by query_id and passage_id."""
    positives = relevant(qrels).select("query_id", "passage_id")
    return negatives.join(positives, on=["query_id", "passage_id"], how="anti").sort("query_id", "passage_id")
