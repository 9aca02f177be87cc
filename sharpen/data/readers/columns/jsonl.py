"""JSON Lines and arrays of objects: FlagEmbedding's rows, and objects whose fields are columns of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from sharpen.data.dataset import DataSet
from sharpen.data.readers.columns.blocks import BlockReader, Line, kinds_of_fields
from sharpen.data.readers.columns.names import columns_of
from sharpen.data.readers.columns.table import TableReader
from sharpen.data.readers.data_format import DataFormat, InputFile
from sharpen.data.readers.flagembedding import FIELDS, add_row, parse
from sharpen.data.readers.json_rows import is_array, objects_of, read_objects
from sharpen.data.readers.lines import read_lines
from sharpen.data.readers.query_facts import FactsReader, QueryFacts
from sharpen.data.readers.rows import ReadReport, RowError
from sharpen.errors import InputError

# rows that say which fields there are
LOOKED_AT = 100
# unknown fields that are reported by name
_FIELDS_NAMED = 10
_NO_FACTS = QueryFacts()

Row = tuple[int, dict[str, Any], bytes]


def read(item: InputFile, source: str, split: str, report: ReadReport) -> DataSet:
    """Read the files.

    Args:
        item: ``.jsonl`` or ``.json`` files, maybe compressed; ``.json`` may hold one array.
        source: name of the source that the queries get.
        split: the split that all rows get, as the format has none.
        report: takes bad rows and notices.
    """
    table = TableReader(item, source, split, report)
    for name, path in item.files.items():
        shown = item.shown(name)
        lines = None if is_array(path, shown) else read_lines(path, shown, report.on_bytes)
        rows = read_objects(path, shown, report) if lines is None else objects_of(lines, shown, report)
        first = list(islice(rows, LOOKED_AT))
        names = names_in(first)
        if _is_flagembedding(names, item):
            _read_flagembedding(first, rows, lines, table, shown)
        else:
            table.read(shown, names, chain(first, rows), counted=True)
    return table.data_set()


def names_in(rows: list[Row]) -> list[str]:
    """The names of all fields of the rows, in first-seen order."""
    return list(dict.fromkeys(name for _, values, _ in rows for name in values))


def _is_flagembedding(names: list[str], item: InputFile) -> bool:
    """Whether rows have FlagEmbedding's fields, or none that would be anything else, so that their faults are told."""
    if item.source.columns or item.source.format == "clicks":
        return False
    if "pos" in names:
        return True
    try:
        columns_of(names, item.source, item.address)
    except InputError:
        return True
    return False


def _read_flagembedding(
    first: list[Row], rows: Iterator[Row], lines: Iterator[Line] | None, table: TableReader, shown: str
) -> None:
    """Read a file, in blocks where that can be.

    Args:
        first: its first rows.
        rows: all others.
        lines: on which they stand; None: they are elements of an array.
        table: takes them.
        shown: address of the file.
    """
    unused, report = Counter[str](), table.report
    facts = FactsReader(table.item.source, shown, report)
    known = FIELDS | facts.used

    def one_by_one(some: Iterable[Row]) -> None:
        for line, values, raw in some:
            try:
                row = parse(values, table.tables.key)
                of_query = _NO_FACTS if facts.used.isdisjoint(values) else facts.read(values)
                add_row(row, of_query, table.tables, table.source, table.split)
            except RowError as fault:
                report.add(shown, line, fault, raw)
                continue
            unused.update(values.keys() - known)

    one_by_one(first)
    kinds = kinds_of_fields([values for _, values, _ in first], facts) if lines else None
    if lines is None or kinds is None:
        one_by_one(rows)
    else:
        blocks = BlockReader(
            table.tables,
            kinds,
            facts,
            table.source,
            table.split,
            unused,
            lambda some: one_by_one(objects_of(some, shown, report)),
        )
        blocks.read(lines)
        report.rows += blocks.in_blocks
    _notice_unused(unused, shown, report)


def _notice_unused(unused: Counter[str], shown: str, report: ReadReport) -> None:
    """Tell of the fields that are not used: the most frequent ones by name, the others by their number."""
    ordered = sorted(unused.items(), key=lambda item: (-item[1], item[0]))
    for name, count in ordered[:_FIELDS_NAMED]:
        report.notice(f"{shown}: field {name[:80]!r} is not used", count)
    if more := ordered[_FIELDS_NAMED:]:
        report.notice(f"{shown}: {len(more):,} more fields are not used", sum(count for _, count in more))


FORMAT = DataFormat(
    "FlagEmbedding",
    "rows of FlagEmbedding, pairs, triplets or click logs (*.jsonl, *.json)",
    read,
    suffixes=(".jsonl", ".json"),
)
