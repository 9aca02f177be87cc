"""The searchable list of queries: for each, what every model returned, as the data of the page's script."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharpen.data.trec import field
from sharpen.evaluation.artifact import EvaluationArtifact
from sharpen.evaluation.report.examples import is_code
from sharpen.evaluation.split import EvaluationSplit

LIST_BYTES = 8 * 1024 * 1024
"""The list's data take at most so much of the file, whatever the number of queries and models."""

LIST_QUERIES = 10_000
FORMS = ((3, 240), (3, 160), (3, 100), (3, 60), (2, 60), (1, 60), (1, 0))
"""(passages of each model, characters of each), from the fullest; the first that fits is taken."""

RANKS, QUERY_CHARACTERS = 5, 300


@dataclass(frozen=True)
class QueryList:
    """What the list holds.

    Attributes:
        data: for the script: ``metric``, ``systems``, ``main`` (index of the system that is compared with, or -1),
            ``level`` (the smallest relevant grade), ``graded`` (there are several grades), ``passages`` [id, text, is
            code] and ``queries`` [id, text, label, values, ranks, relevant, hits, wanted]: a value and the ranks of the
            relevant passages of each system, how many are relevant, [passage, grade or -1, score] of each hit, and
            the relevant passage that is shown where no system has one.
        queries, measured: how many are listed, and how many were measured.
        passages_shown: of each system.
        characters: of each passage.
    """

    data: dict[str, Any]
    queries: int
    measured: int
    passages_shown: int
    characters: int


def query_list(
    models: Sequence[tuple[str, str, EvaluationArtifact]],
    eval_set: EvaluationSplit,
    metric: str,
    level: int,
    label: str,
) -> QueryList:
    """The list of the queries of `eval_set`, at most `LIST_QUERIES` of them and `LIST_BYTES` large.

    Args:
        models: (name, role, evaluation), the reported one last.
        eval_set: texts and judgements.
        metric: by which queries are compared.
        level: smallest grade that is relevant.
        label: the metric's name for people.
    """
    rows = _rows(models, eval_set, metric)
    listed = rows
    if len(rows) > LIST_QUERIES:
        listed = _most_changed(rows)
    for form in FORMS:
        data = _data(models, eval_set, listed, label, level, form)
        if _size(data) <= LIST_BYTES:
            return QueryList(data, len(listed), len(rows), *form)
    while True:  # a query has no fewest bytes, as ids may be of any length
        listed = listed[: len(listed) * 9 // 10]
        data = _data(models, eval_set, listed, label, level, FORMS[-1])
        if _size(data) <= LIST_BYTES or not listed:
            return QueryList(data, len(listed), len(rows), *FORMS[-1])


def _size(data: Mapping[str, Any]) -> int:
    """Bytes as the page holds them, where a < takes six."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode()) + 5 * text.count("<")


Row = tuple[str, list[float]]
"""A query's id and its metric for each model."""


def _rows(models: Sequence[tuple[str, str, EvaluationArtifact]], eval_set: EvaluationSplit, metric: str) -> list[Row]:
    tables = [dict(zip(one.per_query["query_id"], one.per_query[metric], strict=True)) for *_, one in models]
    return [(query_id, [table[query_id] for table in tables]) for query_id in eval_set.query_ids]


def _most_changed(rows: Sequence[Row]) -> list[Row]:
    """Half those that changed most against the first model, half drawn by their ids; in the order of `rows`."""
    by_change = sorted(rows, key=lambda row: (-abs(row[1][-1] - row[1][0]), row[0]))
    rest = sorted(by_change[LIST_QUERIES // 2 :], key=lambda row: hashlib.blake2b(row[0].encode()).digest())
    selected = {row[0] for row in (*by_change[: LIST_QUERIES // 2], *rest[: LIST_QUERIES // 2])}
    return [row for row in rows if row[0] in selected]


def _data(
    models: Sequence[tuple[str, str, EvaluationArtifact]],
    eval_set: EvaluationSplit,
    rows: Sequence[Row],
    label: str,
    level: int,
    form: tuple[int, int],
) -> dict[str, Any]:
    hits_shown, characters = form
    texts = dict(zip(eval_set.passage_ids, eval_set.passage_texts, strict=True))
    ids = {field(passage_id): passage_id for passage_id in eval_set.passage_ids}
    queries = dict(zip(eval_set.query_ids, eval_set.query_texts, strict=True))
    sources = dict(zip(eval_set.query_ids, eval_set.sources, strict=True))
    several = len(set(eval_set.sources)) > 1
    passages: dict[str, int] = {}

    def index(passage_id: str) -> int:
        return passages.setdefault(passage_id, len(passages))

    listed = []
    for query_id, values in rows:
        grades = eval_set.qrels[query_id]
        relevant = {p for p, grade in grades.items() if grade >= level}
        ranks, hits = [], []
        for *_, one in models:
            found = [(ids.get(p, p), score) for p, score in one.hits.get(field(query_id), [])]
            ranks.append([rank for rank, (p, _) in enumerate(found, start=1) if p in relevant][:RANKS])
            hits.append([[index(p), grades.get(p, -1), round(score, 3)] for p, score in found[:hits_shown]])
        shown = {hit[0] for one in hits for hit in one}
        best = max(relevant, key=lambda p: (grades[p], p), default=None)
        wanted = [index(best)] if best in texts and not shown & {passages.get(p) for p in relevant} else []
        text = queries[query_id]
        text = text if len(text) <= QUERY_CHARACTERS else text[:QUERY_CHARACTERS] + " …"
        label_of = sources[query_id] if several else ""
        listed.append([query_id, text, label_of, [round(v, 3) for v in values], ranks, len(relevant), hits, wanted])
    return {
        "metric": label,
        "systems": [name for name, *_ in models],
        "main": 0 if len(models) > 1 else -1,
        "level": level,
        "graded": any(grade > 1 for grades in eval_set.qrels.values() for grade in grades.values()),
        "passages": [[p, *_shown(texts.get(p, ""), characters)] for p in passages],
        "queries": listed,
    }


def _shown(text: str, characters: int) -> tuple[str, int]:
    """A passage's beginning, and 1 where it is code, whose lines are as they were."""
    text = text.strip("\n").expandtabs(4)
    code = is_code(text[:4_000])
    if len(text) > characters:
        text = text[:characters].rstrip() + " …" if characters else ""
    return (text, 1) if code else (" ".join(text.split()), 0)
