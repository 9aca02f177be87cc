"""BEIR folders: corpus.jsonl, queries.jsonl and qrels/{train,dev,test}.tsv.

The layout is that of the BEIR benchmark (Thakur et al., 2021): objects with ``_id``, ``title``, ``text``; judgements
as query id, passage id and grade, separated by tabs, with or without a header line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sharpen.data.dataset import SPLITS, DataSet
from sharpen.data.readers.data_format import DataFormat, InputFile
from sharpen.data.readers.globs import is_glob
from sharpen.data.readers.json_rows import parse_json, parse_object
from sharpen.data.readers.lines import COMPRESSED, read_lines, uncompressed_name
from sharpen.data.readers.python.files import is_python_source
from sharpen.data.readers.query_facts import TIME, FactsReader, QueryFacts
from sharpen.data.readers.rows import (
    ReadReport,
    RowError,
    checked_text,
    group_field,
    is_blank,
    kind_of_value,
    parse_grade,
    refuse_positive_equal_to_query,
    text_field,
)
from sharpen.data.readers.tables import DataSetBuilder
from sharpen.data.source_settings import HUB_SCHEMES
from sharpen.data.text import passage_text
from sharpen.errors import InputError
from sharpen.store import storage

SPLIT_OF_FILE = {"train": "train", "dev": "dev", "valid": "dev", "validation": "dev", "test": "test"}
HEADERS = frozenset({"query-id", "query_id", "queryid", "qid", "query"})

_ID_IN_RAW = re.compile(rb'"_id"\s*:\s*"([^"\\]+)"')


def select(address: str, names: set[str]) -> list[str]:
    """Corpus, queries and judgements of a BEIR folder; none where it has neither of the first two.

    Args:
        address: the folder, for messages.
        names: of the files in it.

    Raises:
        InputError: one of the three is missing.
    """
    corpus, queries = _present(names, "corpus.jsonl"), _present(names, "queries.jsonl")
    if not (corpus or queries):
        return []
    qrels = sorted(filter(None, (_present(names, f"qrels/{name}.tsv") for name in SPLIT_OF_FILE)))
    parts = {"corpus.jsonl": corpus, "queries.jsonl": queries, "qrels/*.tsv": qrels}
    if missing := [what for what, found in parts.items() if not found]:
        expected = "" if qrels else "; the files in qrels/ are train.tsv, dev.tsv, test.tsv"
        raise InputError(f"{address}: looks like a BEIR folder, but lacks {', '.join(missing)}{expected}")
    return [corpus, queries, *qrels]


def _present(present: set[str], name: str) -> str:
    """The name, plain or compressed, that is present; empty for none."""
    return next((name + suffix for suffix in ("", *COMPRESSED) if name + suffix in present), "")


def corpus_of(names: set[str]) -> str:
    """The file of passages among the names of the files in a BEIR folder; empty for none."""
    return _present(names, "corpus.jsonl")


def passages_alone(address: str) -> Path | None:
    """The local file of passages at an address; None when it holds queries too, or something else.

    A folder holds passages alone if there is a corpus.jsonl and neither queries.jsonl nor qrels/; a file if its first
    row has an ``_id`` and a ``text`` and no ``query``.
    """
    if address.startswith(HUB_SCHEMES) or any(
        known(address) for known in (is_glob, is_python_source, storage.is_complete)
    ):
        return None
    path = storage.localize(address)
    if path.is_dir():
        present = {file.name for file in path.iterdir()}
        corpus = _present(present, "corpus.jsonl")
        return None if "qrels" in present or _present(present, "queries.jsonl") or not corpus else path / corpus
    try:
        row = parse_json(next((line for _, line in read_lines(path, address, lambda _: None)), b""))
    except (RowError, InputError):
        return None  # reported with its line when the file is read as what it claims to be
    return path if isinstance(row, dict) and {"_id", "text"} <= row.keys() and "query" not in row else None


def read(item: InputFile, source: str, split: str, report: ReadReport) -> DataSet:
    """Read a BEIR folder.

    A query has the split of its judgements; one that is judged in several splits has the last of train, dev, test,
    and its judgements keep theirs. Queries without a judgement are left out, with a notice.

    Args:
        item: the folder.
        source: name of the source that the queries get.
        split: not used: the files in qrels/ say it.
        report: takes bad rows and notices.

    Raises:
        InputError: the folder holds no passage.
    """
    reader = _Reader(item, source, report)
    corpus, queries, *qrels = sorted(item.files, key=lambda name: (name.startswith("qrels/"), name))
    reader.corpus(corpus)
    reader.queries(queries)
    for name in qrels:
        reader.qrels(name, SPLIT_OF_FILE[uncompressed_name(Path(name).name).removesuffix(".tsv")])
    data = reader.finish()
    if data.corpus.is_empty() and not report.counts:
        raise InputError(f"{item.shown('corpus.jsonl')}: holds no passage; fill it or leave it out")
    return data


class _Reader:
    def __init__(self, item: InputFile, source: str, report: ReadReport) -> None:
        self.files, self.address, self.source, self.report = item.files, item.address, source, report
        self.facts_of = FactsReader(item.source, self.shown("queries.jsonl"), report)
        self.facts: dict[str, QueryFacts] = {}
        self.tables = DataSetBuilder()
        self.passages: dict[str, tuple[str, str]] = {}
        self.query_texts: dict[str, str] = {}
        self.group_of_query: dict[str, str] = {}
        self.split_of_query: dict[str, str] = {}
        self.lost: set[str] = set()

    def shown(self, name: str) -> str:
        return storage.join(self.address, name)

    def corpus(self, name: str) -> None:
        for row_id, values, line, raw in self._identified(name):
            try:
                passage = passage_of(values)
                if self.passages.setdefault(row_id, passage) != passage:
                    raise RowError("repeated_id", "_id", f"{row_id} is another passage on an earlier line")
            except RowError as fault:
                self._set_aside(name, line, fault, raw, row_id)
        for row_id, (title, text) in self.passages.items():
            self.tables.add_passage(row_id, title, text)

    def queries(self, name: str) -> None:
        for row_id, values, line, raw in self._identified(name):
            try:
                text, group = query_of(values)
                if self.query_texts.setdefault(row_id, text) != text:
                    raise RowError("repeated_id", "_id", f"{row_id} is another query on an earlier line")
                self.group_of_query[row_id] = group
                self.facts[row_id] = self.facts_of.read(_with_metadata(values))
            except RowError as fault:
                self._set_aside(name, line, fault, raw, row_id)

    def qrels(self, name: str, split: str) -> None:
        first = True
        for number, line in read_lines(self.files[name], self.shown(name), self.report.on_bytes):
            if first and is_header(line):
                first = False
                continue
            first = False
            self.report.rows += 1
            try:
                query_id, passage_id, grade = self._judgement(line, split)
            except RowError as fault:
                self.report.add(self.shown(name), number, fault, line)
                continue
            self.tables.add_qrel(query_id, passage_id, grade, split)
            earlier = self.split_of_query.get(query_id, split)
            self.split_of_query[query_id] = max(earlier, split, key=SPLITS.index)

    def finish(self) -> DataSet:
        for query_id, split in self.split_of_query.items():
            group = self.group_of_query.get(query_id, "")
            facts = self.facts.get(query_id, QueryFacts())
            text = self.query_texts[query_id]
            self.tables.add_query(query_id, text, split, self.source, "", group, task_type=facts.task_type)
            self.tables.describe_query(query_id, facts.fields, facts.time)
        unjudged = len(self.query_texts) - len(self.split_of_query)
        self.report.notice(f"{self.shown('queries.jsonl')}: query without a judgement", unjudged)
        return self.tables.data_set(self.report, self.shown("qrels"))

    def _identified(self, name: str) -> Iterator[tuple[str, dict[str, Any], int, bytes]]:
        """Id, object, line number and raw line of every row of a file that is an object with an id."""
        for number, line in read_lines(self.files[name], self.shown(name), self.report.on_bytes):
            self.report.rows += 1
            try:
                values = parse_object(line)
                row_id = id_of(values)
            except RowError as fault:
                found = _ID_IN_RAW.search(line)
                self._set_aside(name, number, fault, line, found[1].decode("utf-8", "replace") if found else "")
            else:
                yield row_id, values, number, line

    def _set_aside(self, name: str, line: int, fault: RowError, raw: bytes, row_id: str) -> None:
        self.report.add(self.shown(name), line, fault, raw)
        if fault.reason != "repeated_id":
            self.lost.add(row_id)

    def _judgement(self, line: bytes, split: str) -> tuple[str, str, int]:
        query_id, passage_id, number = parse_judgement(line)
        for name, row_id, known in (("query-id", query_id, self.query_texts), ("corpus-id", passage_id, self.passages)):
            if row_id not in known:
                raise RowError("lost_id" if row_id in self.lost else "unknown_id", name, row_id)
        if split == "train" and number > 0:
            # only where it would be trained on: a benchmark's test judgements are its own business
            title, text = self.passages[passage_id]
            key = self.tables.key
            refuse_positive_equal_to_query(key(self.query_texts[query_id]), key(passage_text(title, text)), "corpus-id")
        return query_id, passage_id, number


def parse_judgement(line: bytes) -> tuple[str, str, int]:
    """Query id, passage id and grade of a line of qrels/. Raises RowError."""
    try:
        columns = [column.strip() for column in line.decode("utf-8").split("\t")]
    except UnicodeDecodeError as error:
        raise RowError("not_utf8", detail=f"byte {error.start + 1} of the line") from None
    if len(columns) != 3:
        raise RowError("wrong_columns", detail=f"found {len(columns)}, expected 3 separated by tabs")
    return columns[0], columns[1], parse_grade(columns[2])


def id_of(values: dict[str, Any]) -> str:
    """The id of a row of corpus.jsonl or queries.jsonl. Raises RowError."""
    if "_id" not in values:
        raise RowError("missing_field", "_id")
    found = values["_id"]
    # qrels are text, so a number can only mean its own digits
    return str(found) if isinstance(found, int) and not isinstance(found, bool) else checked_text(found, "_id")


def query_of(values: dict[str, Any]) -> tuple[str, str]:
    """Text and group of a row of queries.jsonl. Raises RowError."""
    return text_field(values, "text"), _group(values)


def _group(values: dict[str, Any]) -> str:
    """What a query comes from: its field `group`, or `group` in its `metadata`; empty for none."""
    metadata = values.get("metadata")
    if values.get("group") is None and isinstance(metadata, dict):
        return group_field(metadata, "metadata.group")
    return group_field(values)


def _with_metadata(values: dict[str, Any]) -> dict[str, Any]:
    """The row with the times of its `metadata`, and without the group there, which is no field."""
    metadata = values.get("metadata")
    if not isinstance(metadata, dict):
        return values
    times = {name: metadata[name] for name in TIME if name in metadata}
    return {**times, **values, "metadata": {name: value for name, value in metadata.items() if name != "group"}}


def passage_of(values: dict[str, Any]) -> tuple[str, str]:
    """Title and text, stripped. Either may be empty (collections have passages of a title only), but not both.

    Raises RowError.
    """
    title, text = values.get("title"), values.get("text")
    if "text" not in values:
        raise RowError("missing_field", "text")
    for name, value in (("title", title), ("text", text)):
        if value is not None and not isinstance(value, str):
            raise RowError("wrong_type", name, f"expected a text, found {kind_of_value(value)}")
    if text is None:
        raise RowError("wrong_type", "text", "expected a text, found null")
    passage = ((title or "").strip(), text.strip())
    if is_blank(passage[0] + passage[1]):
        raise RowError("empty_text", "text")
    return passage


def is_header(line: bytes) -> bool:
    """Whether the first line of a file of qrels/ names columns."""
    columns = line.decode("utf-8", "replace").split("\t")
    return columns[0].strip().lower() in HEADERS and not columns[-1].strip().lstrip("-").isdigit()


FORMAT = DataFormat("BEIR", "a BEIR folder (corpus.jsonl, queries.jsonl, qrels/*.tsv)", read, select=select)
