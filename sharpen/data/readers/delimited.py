"""CSV and TSV files of pairs: a first line that names the columns, then a query and its passages a row.

Columns: query, positive and, if there are any, negative (more of either: positive_2, negative_2, ...), prompt, group,
which mean what FlagEmbedding's fields of these names mean. Empty cells of passages are none. Quotes are CSV's: a cell
in double quotes may hold delimiters and line ends.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sharpen.data.dataset import DataSet
from sharpen.data.readers.data_format import DataFormat, InputFile
from sharpen.data.readers.flagembedding import add_row, parse
from sharpen.data.readers.lines import opened, without_mark
from sharpen.data.readers.rows import ReadReport, RowError
from sharpen.data.readers.tables import DataSetBuilder
from sharpen.errors import InputError

_LONGEST_CELL = 2**30


def read(item: InputFile, source: str, split: str, report: ReadReport) -> DataSet:
    """Read one file.

    Args:
        item: the file; ``.tsv`` is separated by tabs, all others by commas.
        source: name of the source that the queries get.
        split: the split that all rows get, as the format has none.
        report: takes bad rows and notices.

    Raises:
        InputError: the first line does not name query and positive, or a quote is not closed.
    """
    [path] = item.files.values()
    tables, columns = DataSetBuilder(), []
    for line, cells, raw in _records(path, item.address):
        if not columns:
            columns = _checked_columns(cells, item.address)
            continue
        report.rows += 1
        try:
            row = parse(_values(columns, cells), tables.key)
        except RowError as fault:
            report.add(item.address, line, _in_columns(fault, columns), raw)
        else:
            add_row(row, tables, source, split)
    report.on_bytes(path.stat().st_size)
    for name in columns:
        if name not in ("query", "prompt", "group") and not name.startswith(("positive", "negative")):
            report.notice(f"{item.address}: column {name[:80]!r} is not used", report.rows)
    return tables.data_set(report, item.address)


def _records(path: Path, shown: str) -> Iterator[tuple[int, list[str] | RowError, str]]:
    """First line, cells (or what is wrong with the line) and text of every record that is not blank."""
    taken: list[str] = []

    def decoded(lines: Iterator[bytes]) -> Iterator[str]:
        for line in lines:
            taken.append(line.decode("utf-8", "surrogateescape"))
            yield taken[-1]

    def lines() -> Iterator[bytes]:
        yield without_mark(content.readline(), shown)
        yield from content

    delimiter = "\t" if path.name.removesuffix(".gz").endswith(".tsv") else ","
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        with opened(path, shown) as (_, content):
            reader = csv.reader(decoded(lines()), delimiter=delimiter, strict=True)
            while True:
                first = reader.line_num + 1
                taken.clear()
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    if "end of data" in str(error):
                        raise InputError(f"{shown}, line {first}: a quote is not closed up to the file's end") from None
                    cells = RowError("broken_csv", detail=str(error))
                if cells:
                    yield first, cells, "".join(taken)
    finally:
        csv.field_size_limit(limit)


def _checked_columns(cells: list[str] | RowError, shown: str) -> list[str]:
    columns = [] if isinstance(cells, RowError) else [cell.strip().lower() for cell in cells]
    if missing := [name for name in ("query", "positive") if name not in columns]:
        raise InputError(f"{shown}, line 1: no column {' and no column '.join(missing)}; name the columns there")
    if repeated := [name for name in ("query", "prompt", "group") if columns.count(name) > 1]:
        raise InputError(f"{shown}, line 1: two columns are named {repeated[0]}; keep one")
    return columns


def _values(columns: list[str], cells: list[str] | RowError) -> dict[str, Any]:
    """The row in FlagEmbedding's fields. Raises RowError."""
    if isinstance(cells, RowError):
        raise cells
    if len(cells) != len(columns):
        raise RowError("wrong_columns", detail=f"found {len(cells)}, the first line names {len(columns)}")
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        raise RowError("not_utf8") from None
    named = list(zip(columns, cells, strict=True))
    passages = {
        field: [cell for name, cell in named if name.startswith(column) and cell.strip()]
        for field, column in (("pos", "positive"), ("neg", "negative"))
    }
    return {**{name: cell for name, cell in named if name in ("query", "prompt", "group")}, **passages}


def _in_columns(fault: RowError, columns: list[str]) -> RowError:
    """The fault with the file's word for the field."""
    field = {"pos": "positive", "neg": "negative"}.get(fault.field[:3], fault.field)
    return RowError(fault.reason, field, fault.detail)


FORMAT = DataFormat("CSV", "CSV or TSV with the columns query and positive", read, suffixes=(".csv", ".tsv"))
