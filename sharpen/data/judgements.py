"""Judgements that people made in a spreadsheet: rows of query_id, passage_id and grade, merged into a data set.

`judge.csv` of an evaluation has these columns and others for reading. A row without a grade is not judged yet.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from sharpen.data.dataset import QRELS, DataSet
from sharpen.data.readers.rows import RowError, parse_grade
from sharpen.errors import InputError
from sharpen.store import storage

QUERY_ID, PASSAGE_ID, GRADE = "query_id", "passage_id", "grade"
_SHOWN = 10


@dataclass(frozen=True)
class Judgements:
    """The judged rows of a file.

    Attributes:
        address: of the file.
        table: query_id, passage_id, grade (Int32), line; no pair twice.
        empty: rows without a grade.
    """

    address: str
    table: pl.DataFrame
    empty: int


def read_judgements(address: str) -> Judgements:
    """Read a CSV file, local or ``s3://``.

    Raises:
        InputError: no such file, a column is missing, a grade is no whole number, or a pair has two grades: one line
            each (the first ten), as ``file:line: what is wrong``.
    """
    try:
        text = storage.read_bytes(address).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{address}: not UTF-8; save the sheet as CSV UTF-8") from None
    faults: list[str] = []
    first: dict[tuple[str, str], tuple[int, int]] = {}
    empty = 0
    for line, row in _rows(text, address):
        given = (row.get(GRADE) or "").strip()
        pair = (row.get(QUERY_ID) or "", row.get(PASSAGE_ID) or "")
        if not given:
            empty += 1
        elif not all(pair):
            faults.append(f"{address}:{line}: query_id or passage_id is empty; keep the columns as they were")
        else:
            try:
                grade = parse_grade(given.removesuffix(".0"))
            except RowError:
                faults.append(f"{address}:{line}: grade {given[:40]!r} is not a whole number; write 0, 1, 2 ...")
                continue
            before = first.setdefault(pair, (grade, line))
            if before[0] != grade:
                faults.append(
                    f"{address}:{line}: grade {grade} for query {pair[0]} and passage {pair[1]}, but line {before[1]} "
                    f"says {before[0]}; keep one"
                )
    if faults:
        raise InputError(_first(faults, address))
    rows = [(*pair, grade, line) for pair, (grade, line) in first.items()]
    schema: dict[str, Any] = {QUERY_ID: pl.String, PASSAGE_ID: pl.String, GRADE: pl.Int32, "line": pl.Int64}
    return Judgements(address, pl.DataFrame(rows, schema=schema, orient="row"), empty)


def _rows(text: str, address: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(number of the row's last line, column -> text); semicolons and tabs are understood as separators too."""
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        if missing := [name for name in (QUERY_ID, PASSAGE_ID, GRADE) if name not in (reader.fieldnames or ())]:
            raise InputError(f"{address}: column {', '.join(missing)} is missing; expected query_id, passage_id, grade")
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f"{address}:{reader.line_num}: {error}; save the sheet as CSV again") from None


def merge_judgements(data: DataSet, judgements: Judgements) -> tuple[DataSet, dict[str, int]]:
    """The data set with the judgements added to its qrels.

    Args:
        data: the data set.
        judgements: of its queries and passages.

    Returns:
        the data set, and counts: ``added``, ``known`` (the same grade stood there), ``unknown`` (no such query or
        passage any more), ``empty``.

    Raises:
        InputError: a grade that differs from that in the data set (file and line are named), or no row of the file
            belongs to the data set.
    """
    queries = data.queries.select(QUERY_ID, "split")
    fitting = judgements.table.join(queries, on=QUERY_ID).join(data.corpus, on=PASSAGE_ID, how="semi")
    if judgements.table.height and fitting.is_empty():
        raise InputError(
            f"{judgements.address}: none of its {judgements.table.height:,} judgements names a query and a passage "
            "of the data set; judge the list of an evaluation of these data"
        )
    before = data.qrels.select(QUERY_ID, PASSAGE_ID, stored=GRADE).unique([QUERY_ID, PASSAGE_ID], keep="first")
    both = fitting.join(before, on=[QUERY_ID, PASSAGE_ID], how="left", maintain_order="left")
    conflicts = both.filter(pl.col("stored").is_not_null() & (pl.col("stored") != pl.col(GRADE))).sort("line")
    if not conflicts.is_empty():
        faults = [
            f"{judgements.address}:{row['line']}: grade {row[GRADE]} for query {row[QUERY_ID]} and passage "
            f"{row[PASSAGE_ID]}, but the data have {row['stored']}; change one of the two"
            for row in conflicts.iter_rows(named=True)
        ]
        raise InputError(_first(faults, judgements.address))
    new = both.filter(pl.col("stored").is_null())
    qrels = pl.concat([data.qrels.select(list(QRELS)), new.select(list(QRELS))])
    counts = {
        "added": new.height,
        "known": both.height - new.height,
        "unknown": judgements.table.height - fitting.height,
        "empty": judgements.empty,
    }
    return replace(data, qrels=qrels), counts


def _first(faults: list[str], address: str) -> list[str]:
    more = [f"{address}: {len(faults) - _SHOWN} more such lines"] if len(faults) > _SHOWN else []
    return faults[:_SHOWN] + more
