"""TREC's text formats: judgements (qrels) are read, rankings (runs) are read and written."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from sharpen.data.readers.lines import read_lines
from sharpen.data.readers.rows import RowError, parse_grade
from sharpen.errors import InputError

Value = TypeVar("Value", int, float)

BEIR_HEADER = ["query-id", "corpus-id", "score"]
FAULTS_SHOWN = 10


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Query id -> passage id -> grade.

    Lines are ``query 0 passage grade``, or ``query passage grade`` where the first line is BEIR's header.

    Raises:
        InputError: one line per faulty line (the first ten), as ``file:line: what is wrong``.
    """
    lines = list(_lines(path))
    if lines and lines[0][1] == BEIR_HEADER:
        rows = ((number, [row[0], "0", *row[1:]] if len(row) == 3 else row) for number, row in lines[1:])
    else:
        rows = iter(lines)
    return _table(str(path), rows, ("query", "0", "passage", "grade"), value_at=3, convert=_grade)


def read_run(path: Path, shown: str = "") -> dict[str, dict[str, float]]:
    """Query id -> passage id -> score, from lines ``query Q0 passage rank score tag``; the rank is ignored.

    Args:
        path: file to read.
        shown: its address for messages, where the user knows it by another name.

    Raises:
        InputError: as `read_qrels`; also for a score that is not a finite number.
    """
    names = ("query", "Q0", "passage", "rank", "score", "tag")
    return _table(shown or str(path), _lines(path, shown), names, value_at=4, convert=_finite)


def write_run(path: Path, rankings: Iterable[tuple[str, Iterable[tuple[str, float]]]], tag: str) -> None:
    """Write ``query Q0 passage rank score tag`` lines.

    Args:
        path: file to write.
        rankings: per query its id and (passage id, score) best first. Nine digits hold a float32 score exactly.
        tag: name of the run.
    """
    with path.open("w", encoding="utf-8") as file:
        for query_id, hits in rankings:
            for rank, (passage_id, score) in enumerate(hits, start=1):
                file.write(f"{field(query_id)} Q0 {field(passage_id)} {rank} {score:.9g} {field(tag)}\n")


def field(text: str) -> str:
    """A value as one field of a TREC line: white space, which separates fields, becomes its percent code."""
    return re.sub(r"\s", lambda found: "".join(f"%{byte:02X}" for byte in found.group().encode()), text) or "-"


def _lines(path: Path, shown: str = "") -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of the lines that are not blank; a ``.gz`` file is decompressed."""
    named = shown or str(path)
    for number, raw in read_lines(path, named, lambda _: None):
        try:
            yield number, raw.decode().split()
        except UnicodeDecodeError:
            raise InputError(f"{named}:{number}: not UTF-8; convert the file to UTF-8") from None


def _table(
    named: str,
    rows: Iterable[tuple[int, list[str]]],
    names: tuple[str, ...],
    *,
    value_at: int,
    convert: Callable[[str], Value],
) -> dict[str, dict[str, Value]]:
    table: dict[str, dict[str, Value]] = {}
    faults: list[str] = []
    for number, row in rows:
        # a run's tag may hold white space: trec_eval reads to the end of the line
        if len(row) < len(names) or (len(row) > len(names) and names[-1] != "tag"):
            faults.append(f"{named}:{number}: {len(row)} fields; expected {len(names)}: {' '.join(names)}")
            continue
        query_id, passage_id, text = row[0], row[2], row[value_at]
        try:
            value = convert(text)
        except ValueError:
            kind = "a whole number of 32 bits" if convert is _grade else "a finite number"
            faults.append(f"{named}:{number}: {names[value_at]} {text[:40]!r} is not {kind}")
            continue
        grades = table.setdefault(query_id, {})
        if passage_id in grades:
            faults.append(f"{named}:{number}: passage {passage_id} stands twice for query {query_id}; keep one line")
        grades[passage_id] = value
    if faults:
        more = [f"{named}: {len(faults) - FAULTS_SHOWN} more faulty lines"] if len(faults) > FAULTS_SHOWN else []
        raise InputError(faults[:FAULTS_SHOWN] + more)
    if not table:
        raise InputError(f"{named}: no line of data; expected lines of {' '.join(names)}")
    return table


def _grade(text: str) -> int:
    try:
        return parse_grade(text)
    except RowError as fault:
        raise ValueError(text) from fault


def _finite(text: str) -> float:
    value = float(text)
    # Python reads 1_0 as 10
    if not math.isfinite(value) or "_" in text:
        raise ValueError(text)
    return value
