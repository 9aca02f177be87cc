"""Parquet files of rows with named columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sharpen.data.dataset import DataSet
from sharpen.data.parquet import arrow_faults
from sharpen.data.readers.columns.table import Record, TableReader
from sharpen.data.readers.data_format import DataFormat, InputFile
from sharpen.data.readers.rows import ReadReport
from sharpen.errors import InputError

_ROWS = 2000


def read(item: InputFile, source: str, split: str, report: ReadReport) -> DataSet:
    """Read the files.

    Args:
        item: the files.
        source: name of the source that the queries get.
        split: the split that all rows get, as the format has none.
        report: takes bad rows and notices.

    Raises:
        InputError: damaged, or columns of which it is not clear what they are.
    """
    table = TableReader(item, source, split, report)
    for name, path in item.files.items():
        table.read(item.shown(name), *read_records(path, item.shown(name)))
        report.on_bytes(path.stat().st_size)
    return table.data_set()


def read_records(path: Path, shown: str) -> tuple[list[str], Iterator[Record]]:
    """The names of the columns, and the rows, a part of them in memory at once.

    Args:
        path: the file.
        shown: its address, for messages.

    Raises:
        InputError: not a Parquet file that can be read.
    """
    with arrow_faults(shown):
        names = parquet.read_schema(path).names
    if repeated := next((name for name in names if names.count(name) > 1), ""):
        raise InputError(f"{shown}: two columns are named {repeated}; keep one")
    return names, _records(path, shown)


def _records(path: Path, shown: str) -> Iterator[Record]:
    with arrow_faults(shown), parquet.ParquetFile(path) as file:
        yield from records_of(file.iter_batches(batch_size=_ROWS))


def records_of(batches: Iterator[pa.RecordBatch] | Iterator[pa.Table]) -> Iterator[tuple[int, dict[str, Any], None]]:
    """The rows of Arrow tables, numbered from 1."""
    number = 0
    for batch in batches:
        for values in batch.to_pylist():
            number += 1
            yield number, values, None


FORMAT = DataFormat("Parquet", "Parquet with the columns query and positive", read, suffixes=(".parquet",))
