"""Passages that come alone: a corpus.jsonl of BEIR's form without queries and judgements."""

from __future__ import annotations

from pathlib import Path

from sharpen.data.readers.json_rows import parse_json
from sharpen.data.readers.lines import read_lines
from sharpen.data.readers.rows import RowError
from sharpen.errors import InputError
from sharpen.store import storage

_NAMES = ("corpus.jsonl", "corpus.jsonl.gz")
_OF_QUERIES = ("queries.jsonl", "queries.jsonl.gz", "qrels")


def alone(address: str) -> Path | None:
    """The local file of passages at an address; None when it holds queries too, or something else.

    A folder holds passages alone if there is a corpus.jsonl and neither queries.jsonl nor qrels/; a file if its first
    row has an ``_id`` and a ``text`` and no ``query``.
    """
    if storage.is_complete(address):
        return None
    path = storage.localize(address)
    if path.is_dir():
        if any((path / name).exists() for name in _OF_QUERIES):
            return None
        return next((path / name for name in _NAMES if (path / name).is_file()), None)
    return path if _is_passage(_first_row(path, address)) else None


def _is_passage(row: object) -> bool:
    return isinstance(row, dict) and {"_id", "text"} <= row.keys() and "query" not in row


def _first_row(path: Path, address: str) -> object:
    try:
        line = next((line for _, line in read_lines(path, address, lambda _: None)), b"")
        return parse_json(line)
    except (RowError, InputError):
        return None  # told with its place when the file is read as what it claims to be
