"""CSV and TSV files: a first line that names the columns, then a row a record.

Empty cells of passages are none. Quotes are CSV's: a cell in double quotes may hold delimiters and line ends.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from sharpen.data.dataset import DataSet
from sharpen.data.readers.columns.names import ONCE
from sharpen.data.readers.columns.table import Record, TableReader
from sharpen.data.readers.data_format import DataFormat, InputFile
from sharpen.data.readers.lines import opened, uncompressed_name, without_mark
from sharpen.data.readers.rows import ReadReport, RowError
from sharpen.errors import InputError

_LONGEST_CELL = 2**30


def read(item: InputFile, source: str, split: str, report: ReadReport) -> DataSet:
    """Read the files.

    Args:
        item: the files; ``.tsv`` are separated by tabs, all others by commas.
        source: name of the source that the queries get.
        split: the split that all rows get, as the format has none.
        report: takes bad rows and notices.

    Raises:
        InputError: the first line does not say which column is what, or a quote is not closed.
    """
    table = TableReader(item, source, split, report)
    for name, path in item.files.items():
        table.read(item.shown(name), *read_records(path, item.shown(name)), header=", line 1")
        report.on_bytes(path.stat().st_size)
    return table.data_set()


def read_records(path: Path, shown: str) -> tuple[list[str], Iterator[Record]]:
    """The names of the columns, and the rows.

    Args:
        path: the file.
        shown: its address, for messages.

    Raises:
        InputError: no line that names the columns, a name that stands twice, or a quote that is not closed.
    """
    records = _records(path, shown)
    first = next(records, None)
    cells = [] if first is None or isinstance(first[1], RowError) else [cell.strip() for cell in first[1]]
    names: list[str] = []
    for number, name in enumerate(cells):
        repeated = name.lower() in (earlier.lower() for earlier in cells[:number])
        if repeated and name.lower() in ONCE:
            raise InputError(f"{shown}, line 1: two columns are named {name}; keep one")
        names.append(f"{name}_{number + 1}" if repeated else name)
    return names, ((line, _values(names, cells), raw) for line, cells, raw in records)


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

    delimiter = "\t" if uncompressed_name(path.name).endswith(".tsv") else ","
    with opened(path, shown) as (_, content):
        reader = csv.reader(decoded(lines()), delimiter=delimiter, strict=True)
        while True:
            first = reader.line_num + 1
            taken.clear()
            # a limit of the process, so that it is raised for one record at a time
            limit = csv.field_size_limit(_LONGEST_CELL)
            try:
                cells = next(reader, None)
            except csv.Error as error:
                if "end of data" in str(error):
                    raise InputError(f"{shown}, line {first}: a quote is not closed up to the file's end") from None
                cells = RowError("broken_csv", detail=str(error))
            finally:
                csv.field_size_limit(limit)
            if cells is None:
                return
            if cells:
                yield first, cells, "".join(taken)


def _values(names: list[str], cells: list[str] | RowError) -> dict[str, str] | RowError:
    """The row by column, or what is wrong with it."""
    if isinstance(cells, RowError):
        return cells
    if len(cells) != len(names):
        return RowError("wrong_columns", detail=f"found {len(cells)}, the first line names {len(names)}")
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return RowError("not_utf8")
    return dict(zip(names, cells, strict=True))


FORMAT = DataFormat("CSV", "CSV or TSV with the columns query and positive", read, suffixes=(".csv", ".tsv"))
