"""FlagEmbedding's training format: JSON Lines with query, pos, neg, pos_scores, neg_scores, prompt and, of ours, group.

Every file is a source. `prompt` is the row's own query instruction; `group` names what the query comes from, such as a
document: queries of one group never stand in two splits and count together where models are compared. Ids are made
from the normalised texts, so a query that stands on several rows is one query with several positives.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sharpen.data.dataset import DataSet
from sharpen.data.readers.data_format import DataFormat, InputFile
from sharpen.data.readers.json_rows import read_objects
from sharpen.data.readers.rows import (
    ReadReport,
    RowError,
    checked_text,
    group_field,
    kind_of_value,
    refuse_positive_equal_to_query,
    text_field,
)
from sharpen.data.readers.tables import DataSetBuilder
from sharpen.data.text import text_key

FIELDS = frozenset({"query", "pos", "neg", "pos_scores", "neg_scores", "prompt", "group"})
# unknown fields that are reported by name
FIELDS_NAMED = 10


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One row: `pos_scores` and `neg_scores` are a teacher's scores, as many as there are passages, or None."""

    query: str
    pos: list[str]
    neg: list[str]
    pos_scores: list[float] | None
    neg_scores: list[float] | None
    instruction: str
    group: str


def read(item: InputFile, source: str, split: str, report: ReadReport) -> DataSet:
    """Read one file.

    Args:
        item: a ``.jsonl`` or ``.json`` file, maybe with ``.gz``; ``.json`` may hold one array.
        source: name of the source that the queries get.
        split: the split that all rows get, as the format has none.
        report: takes bad rows and notices.
    """
    [path], shown = item.files.values(), item.address
    tables, unused = DataSetBuilder(), Counter[str]()
    for line, values, raw in read_objects(path, shown, report):
        try:
            row = parse(values, tables.key)
        except RowError as fault:
            report.add(shown, line, fault, raw)
            continue
        unused.update(values.keys() - FIELDS)
        add_row(row, tables, source, split)
    _notice_unused(unused, shown, report)
    return tables.data_set(report, shown)


def _notice_unused(unused: Counter[str], shown: str, report: ReadReport) -> None:
    """Tell of the fields that are not used: the most frequent ones by name, the others by their number."""
    ordered = sorted(unused.items(), key=lambda item: (-item[1], item[0]))
    for name, count in ordered[:FIELDS_NAMED]:
        report.notice(f"{shown}: field {name[:80]!r} is not used", count)
    if more := ordered[FIELDS_NAMED:]:
        report.notice(f"{shown}: {len(more):,} more fields are not used", sum(count for _, count in more))


def parse(values: dict[str, Any], key: Callable[[str], int] = text_key) -> TrainingRow:
    """Check one row.

    Args:
        values: the row's object.
        key: `text_key`, or the same with a memory.

    Raises:
        RowError: the first thing that is wrong with the row.
    """
    query = text_field(values, "query")
    if "pos" not in values:
        raise RowError("missing_field", "pos")
    pos, neg = _texts(values["pos"], "pos"), _texts(values.get("neg"), "neg", may_lack=True)
    if not pos:
        raise RowError("no_positive", "pos")
    for index, text in enumerate(pos):
        refuse_positive_equal_to_query(key(query), key(text), f"pos[{index}]")
    prompt = values.get("prompt")
    if prompt is not None and not isinstance(prompt, str):
        raise RowError("wrong_type", "prompt", f"expected a text, found {kind_of_value(prompt)}")
    return TrainingRow(
        query,
        pos,
        neg,
        _scores(values.get("pos_scores"), "pos_scores", len(pos)),
        _scores(values.get("neg_scores"), "neg_scores", len(neg)),
        # only its emptiness is judged: a trailing space joins instruction and query
        (prompt or "") if (prompt or "").strip() else "",
        group_field(values),
    )


def _texts(value: Any, name: str, *, may_lack: bool = False) -> list[str]:
    if value is None and may_lack:
        return []
    if not isinstance(value, list):
        raise RowError("wrong_type", name, f"expected a list of texts, found {kind_of_value(value)}")
    return [checked_text(text, f"{name}[{index}]") for index, text in enumerate(value)]


def _scores(value: Any, name: str, length: int) -> list[float] | None:
    if value is None or (value == [] and length == 0):
        return None
    if not isinstance(value, list):
        raise RowError("wrong_type", name, f"expected a list of numbers, found {kind_of_value(value)}")
    for index, score in enumerate(value):
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise RowError("bad_score", f"{name}[{index}]", f"found {str(score)[:40]}")
    if len(value) != length:
        raise RowError("score_length", name, f"{len(value)} scores for {length} passages")
    return [float(score) for score in value]


def add_row(row: TrainingRow, tables: DataSetBuilder, source: str, split: str) -> None:
    """Add a checked row to the tables, with the name of its source and its split."""
    query = tables.query_by_text(row.query, split, source, row.instruction, row.group)
    for texts, scores, grade in ((row.pos, row.pos_scores, 1), (row.neg, row.neg_scores, 0)):
        for index, text in enumerate(texts):
            passage = tables.passage_by_text(text)
            if grade:
                tables.add_qrel(query, passage, grade, split)
            else:
                tables.add_negative(query, passage)
            if scores is not None:
                tables.add_score(query, passage, scores[index])


FORMAT = DataFormat("FlagEmbedding", "FlagEmbedding rows (*.jsonl, *.json)", read, suffixes=(".jsonl", ".json"))
