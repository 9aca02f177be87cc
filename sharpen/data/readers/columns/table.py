"""Rows with named columns on their way to a data set: rows of passages, labelled pairs, labelled texts, click logs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from sharpen.data.dataset import DataSet
from sharpen.data.readers.columns.clicks import ClickLog
from sharpen.data.readers.columns.names import Columns, columns_of
from sharpen.data.readers.data_format import InputFile
from sharpen.data.readers.flagembedding import add_row, parse
from sharpen.data.readers.query_facts import FactsReader, QueryFacts
from sharpen.data.readers.rows import (
    RAW_CHARACTERS,
    ReadReport,
    RowError,
    checked_text,
    group_field,
    kind_of_value,
    parse_grade,
    refuse_positive_equal_to_query,
)
from sharpen.data.readers.tables import DataSetBuilder
from sharpen.data.task_type import TaskType, task_type
from sharpen.errors import InputError

Record: TypeAlias = tuple[int, "Mapping[str, Any] | RowError", "bytes | str | None"]
"""Line or row number, the values by column (or what is wrong with the row), and the row as it stands in the file."""

_LISTS = {"pos": "positive", "neg": "negative"}
_OF_LISTS = {
    "pos_scores": "positive_score",
    "neg_scores": "negative_score",
    "pos_id": "positive_id",
    "neg_id": "negative_id",
}
_SHOWN_UNUSED = 10


class TableReader:
    """Makes a data set of the rows of the tables of a source.

    Args:
        item: the files, with the settings of their source.
        source, split: of the queries.
        report: takes bad rows and notices.
    """

    def __init__(self, item: InputFile, source: str, split: str, report: ReadReport) -> None:
        self.item, self.source, self.split, self.report = item, source, split, report
        self.tables = DataSetBuilder()
        self.logs: dict[str, ClickLog] = {}
        self.kind_of_source = task_type(item.source.task_type) if item.source.task_type else None

    def read(
        self,
        shown: str,
        names: Sequence[str],
        records: Iterable[Record],
        split: str = "",
        *,
        header: str = "",
        counted: bool = False,
    ) -> None:
        """Take the rows of a table.

        Args:
            shown: the file, for messages.
            names: of its columns.
            records: its rows.
            split: of these rows; empty: that of all.
            header: where in the file the names stand, for messages.
            counted: whether the report has counted the rows already.

        Raises:
            InputError: the columns do not say what is what.
        """
        columns = columns_of(names, self.item.source, shown + header)
        facts_of = FactsReader(self.item.source, shown, self.report, names)
        rows, split = 0, split or self.split
        add = {
            "rows": self._row,
            "labelled_pairs": self._labelled_pair,
            "labelled_texts": self._labelled_text,
            "clicks": self._click,
        }[columns.kind]
        for line, values, raw in records:
            rows += 1
            self.report.rows += not counted
            try:
                if isinstance(values, RowError):
                    raise values
                add(values, columns, facts_of.read(values), split)
            except RowError as fault:
                self.report.add(shown, line, fault, shown_row(values) if raw is None else raw)
        for name in [name for name in columns.unused if name not in facts_of.used][:_SHOWN_UNUSED]:
            self.report.notice(f"{shown}: column {str(name)[:80]!r} is not used", rows)

    def data_set(self) -> DataSet:
        """All rows that were read."""
        for split, log in self.logs.items():
            log.write(self.tables, self.source, split, self.report, self.item.address)
        return self.tables.data_set(self.report, self.item.address)

    def _click(self, row: Mapping[str, Any], columns: Columns, facts: QueryFacts, split: str) -> None:
        log = self.logs.setdefault(split, ClickLog(self.item.source.clicks, self.item.pool))
        log.add(row, columns, facts, self.tables)

    def _row(self, row: Mapping[str, Any], columns: Columns, facts: QueryFacts, split: str) -> None:
        values: dict[str, Any] = {field: _texts(row, columns.of.get(what, [])) for field, what in _LISTS.items()}
        values |= {
            field: _list(row.get(columns.first(what))) for field, what in _OF_LISTS.items() if columns.first(what)
        }
        values |= self._of_query(row, columns)
        try:
            add_row(parse(values, self.tables.key), facts, self.tables, self.source, split)
        except RowError as fault:
            raise _in_columns(fault, columns) from None

    def _of_query(self, row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
        names = {what: columns.first(what) for what in ("query", "prompt", "group")}
        return {what: row[name] for what, name in names.items() if name in row}

    def _labelled_pair(self, row: Mapping[str, Any], columns: Columns, facts: QueryFacts, split: str) -> None:
        names = {what: columns.first(what) for what in ("query", "positive", "label")}
        query, passage = (checked_text(row.get(names[what]), names[what]) for what in ("query", "positive"))
        kind = self._kind(facts, TaskType.STS if columns.is_similarity else TaskType.RETRIEVAL)
        label, prompt = row.get(names["label"]), str(row.get(columns.first("prompt")) or "")
        group = group_field({"group": row.get(columns.first("group"))}, columns.first("group"))
        degree = _number(label, names["label"]) if kind is TaskType.STS else None
        grade = parse_grade(_digits(label)) if degree is None else 0
        if grade > 0:
            refuse_positive_equal_to_query(self.tables.key(query), self.tables.key(passage), names["positive"])
        query_id = self.tables.query_by_text(query, split, self.source, prompt, group, task_type=kind)
        passage_id = self.tables.passage_by_text(passage)
        self.tables.describe_query(query_id, facts.fields, facts.time)
        if degree is None:
            self.tables.add_qrel(query_id, passage_id, grade, split)
        else:
            self.tables.add_similarity(query_id, passage_id, degree, split)

    def _labelled_text(self, row: Mapping[str, Any], columns: Columns, facts: QueryFacts, split: str) -> None:
        text, label = (
            checked_text(row.get(columns.first("text")), columns.first("text")),
            row.get(columns.first("label")),
        )
        kind = self._kind(facts, TaskType.CLASSIFICATION)
        if not kind.has_labels:
            raise InputError(
                f"{self.item.address}: columns text and label are labelled texts, which are no {kind}; set task_type "
                f"to {TaskType.CLASSIFICATION} or {TaskType.CLUSTERING}, or say with columns what is the query"
            )
        if isinstance(label, float) and label.is_integer():
            label = int(label)
        named = str(label) if isinstance(label, int) else label
        named = checked_text(named, columns.first("label"))
        group = group_field({"group": row.get(columns.first("group"))}, columns.first("group"))
        query_id = self.tables.query_by_text(text, split, self.source, "", group, task_type=kind, label=named)
        self.tables.describe_query(query_id, facts.fields, facts.time)

    def _kind(self, facts: QueryFacts, usual: TaskType) -> TaskType:
        """The task type of a labelled row: what it says, else what the source says, else the usual one."""
        if facts.task_type is not TaskType.RETRIEVAL:
            return facts.task_type
        return self.kind_of_source or usual


def shown_row(values: Mapping[str, Any] | RowError) -> str:
    """The beginning of a row of a binary table, as JSON."""
    if isinstance(values, RowError):
        return ""
    short = {name: value[:RAW_CHARACTERS] if isinstance(value, str | list) else value for name, value in values.items()}
    return json.dumps(short, ensure_ascii=False, default=str)


def _texts(row: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """What the columns hold, lists and single texts in one list; empty cells are none."""
    found: list[Any] = []
    for name in names:
        value = row.get(name)
        if isinstance(value, list | tuple):
            found += value
        elif value is not None and not (isinstance(value, str) and not value.strip()):
            found.append(value)
    return found


def _list(value: Any) -> list[Any] | None:
    if value is None or value == "":
        return None
    values = list(value) if isinstance(value, list | tuple) else [value]
    return [float(one) if isinstance(one, str) and _is_float(one) else one for one in values]


def _is_float(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _number(value: Any, name: str) -> float:
    found = float(value) if isinstance(value, str) and _is_float(value) else value
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise RowError("bad_score", name, f"found {str(value)[:40]}")
    return float(found)


def _digits(value: Any) -> str:
    """A label as digits; booleans and whole numbers written as fractions are such too."""
    if isinstance(value, bool):
        return str(int(value))
    return str(value).strip().removesuffix(".0") if isinstance(value, int | float | str) else kind_of_value(value)


def _in_columns(fault: RowError, columns: Columns) -> RowError:
    """The fault with the user's word for the field."""
    for field, what in {**_OF_LISTS, **_LISTS, "query": "query", "prompt": "prompt", "group": "group"}.items():
        if fault.field == field or fault.field.startswith(f"{field}["):
            return RowError(fault.reason, columns.first(what) or what, fault.detail)
    return fault
