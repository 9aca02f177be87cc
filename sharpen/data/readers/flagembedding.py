"""FlagEmbedding's rows: query, pos, neg, pos_scores, neg_scores, pos_id, neg_id, prompt, type and, of ours, group.

Every file is a source. `prompt` is the row's own query instruction; `group` names what the query comes from, such as a
document: queries of one group never stand in two splits and count together where models are compared. Ids are made
from the normalised texts, so a query that stands on several rows is one query with several positives; passages have the
ids that pos_id and neg_id give them. `type` and what else a row says of its query: `query_facts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sharpen.data.readers.query_facts import QueryFacts
from sharpen.data.readers.rows import (
    RowError,
    checked_text,
    group_field,
    kind_of_value,
    refuse_positive_equal_to_query,
    text_field,
)
from sharpen.data.readers.tables import DataSetBuilder
from sharpen.data.text import text_key

FIELDS = frozenset(
    {"query", "pos", "neg", "pos_scores", "neg_scores", "pos_id", "neg_id", "prompt", "group", "batch_size"}
)


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One row: of `pos_scores`, `neg_scores` (a teacher's) and the ids, as many as there are passages, or None."""

    query: str
    pos: list[str]
    neg: list[str]
    pos_scores: list[float] | None
    neg_scores: list[float] | None
    instruction: str
    group: str
    pos_id: list[str] | None = None
    neg_id: list[str] | None = None


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
        _ids(values.get("pos_id"), "pos_id", len(pos)),
        _ids(values.get("neg_id"), "neg_id", len(neg)),
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


def _ids(value: Any, name: str, length: int) -> list[str] | None:
    if value is None or (value == [] and length == 0):
        return None
    if not isinstance(value, list):
        raise RowError("wrong_type", name, f"expected a list of ids, found {kind_of_value(value)}")
    if len(value) != length:
        raise RowError("score_length", name, f"{len(value)} ids for {length} passages")
    return [
        str(one) if isinstance(one, int) and not isinstance(one, bool) else checked_text(one, f"{name}[{index}]")
        for index, one in enumerate(value)
    ]


def add_row(row: TrainingRow, facts: QueryFacts, tables: DataSetBuilder, source: str, split: str) -> None:
    """Add a checked row to the tables. Raises RowError when it gives the id of another passage.

    Args:
        row: what `parse` made of it.
        facts: what else it says of its query.
        tables: to add to.
        source, split: of the query.
    """
    lists = (("pos", row.pos, row.pos_id, row.pos_scores), ("neg", row.neg, row.neg_id, row.neg_scores))
    for name, texts, ids, _ in lists:
        for index, (passage, text) in enumerate(zip(ids, texts, strict=True) if ids else ()):
            if not tables.is_free(passage, text):
                raise RowError(
                    "repeated_id", f"{name}_id[{index}]", f"{passage[:80]} is another passage on a row before"
                )
    query = tables.query_by_text(row.query, split, source, row.instruction, row.group, task_type=facts.task_type)
    tables.describe_query(query, facts.fields, facts.time)
    for name, texts, ids, scores in lists:
        for index, text in enumerate(texts):
            if ids is None:
                passage = tables.passage_by_text(text)
            else:
                tables.add_passage(passage := ids[index], "", text)
            if name == "pos":
                tables.add_qrel(query, passage, 1, split)
            else:
                tables.add_negative(query, passage)
            if scores is not None:
                tables.add_score(query, passage, scores[index])
