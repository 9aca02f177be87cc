"""Small input files for tests of readers and data_prep."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    """JSON Lines; a row that is bytes is written as it is; a name ending with .gz is compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
    data = b"".join(line + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_beir(
    folder: Path,
    corpus: Iterable[Any],
    queries: Iterable[Any],
    qrels: Mapping[str, Iterable[str]],
    header: bool = True,
) -> Path:
    """A BEIR folder; `qrels` maps a file's name without suffix to its lines."""
    write_rows(folder / "corpus.jsonl", corpus)
    write_rows(folder / "queries.jsonl", queries)
    (folder / "qrels").mkdir(exist_ok=True)
    for name, lines in qrels.items():
        text = "".join(f"{line}\n" for line in [*(["query-id\tcorpus-id\tscore"] if header else []), *lines])
        (folder / "qrels" / f"{name}.tsv").write_text(text, encoding="utf-8")
    return folder


def passage(number: int, title: str = "") -> dict[str, str]:
    """A corpus row with an id, title and text of its own."""
    return {"_id": f"p{number}", "title": title, "text": f"passage number {number}"}


def question(number: int) -> dict[str, str]:
    """A query row with an id and text of its own."""
    return {"_id": f"q{number}", "text": f"question number {number}?"}


def pair(number: int, **more: Any) -> dict[str, Any]:
    """A FlagEmbedding row with texts of its own."""
    return {"query": f"question number {number}?", "pos": [f"passage number {number}"], **more}
