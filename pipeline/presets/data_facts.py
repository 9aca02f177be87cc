"""How much data there are and of which kind, from sizes, footers and a few rows: nothing is prepared."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from sharpen.data.source_settings import HUB_SCHEMES, SourceSettings, parse_sources
from sharpen.errors import InputError
from sharpen.store import storage

PYTHON_SOURCE = "python-source:"
ROWS = (".jsonl", ".csv", ".tsv", ".parquet")
DOCUMENTS = (".txt", ".md", ".markdown", ".html", ".htm", ".pdf")
# files up to it are counted line by line, larger ones by the bytes of their first rows
_COUNTED_BYTES = 64 * 2**20
SAMPLE = 200
_ROWS_READ = 20_000
# of a remote file, which is not fetched for a guess; FlagEmbedding's rows of a query with a positive and negatives
_BYTES_A_ROW = 1500
_LEAST_LANGUAGE = 0.1


@dataclass
class DataFacts:
    """What was seen of the data.

    Attributes:
        rows: how many, about.
        exact: whether they were counted.
        code: whether a source is Python code.
        documents: how many files without queries there are.
        labelled: whether rows have queries or labels; None: none was looked at.
        languages: share of each language in the sample.
        read: what was read, in words.
    """

    rows: int = 0
    exact: bool = True
    code: bool = False
    documents: int = 0
    labelled: bool | None = None
    languages: dict[str, float] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)

    @property
    def main_languages(self) -> list[str]:
        """Those of at least a tenth of the sample, the most frequent first."""
        return [code for code, share in self.languages.items() if share >= _LEAST_LANGUAGE]


def read_facts(train_data: str) -> DataFacts:
    """Look at the sources of a run. Raises InputError where nothing is there."""
    facts, texts = DataFacts(), []
    for source in parse_sources(train_data, "train_data"):
        texts += _look(source, facts)
    if texts:
        facts.languages = _languages(texts[: 2 * SAMPLE])
    return facts


def _look(source: SourceSettings, facts: DataFacts) -> list[str]:
    """Add what a source is; some of its texts."""
    address = source.address
    if address.startswith(PYTHON_SOURCE):
        facts.code = True
        facts.read.append(f"{address}: Python code")
        return []
    if address.startswith(HUB_SCHEMES):
        facts.exact = False
        facts.read.append(f"{address}: not counted")
        return []
    if storage.is_complete(address):
        return _look_at_prepared(address, facts)
    files = [(name, size, where) for name, size, where in _files(address) if size]
    if not files:
        raise InputError(f"train_data: {address}: nothing there to choose a preset by")
    queries = [file for file in files if PurePosixPath(_plain(file[0])).name == "queries.jsonl"]
    texts: list[str] = []
    for name, size, where in queries or files:
        suffix = PurePosixPath(_plain(name)).suffix.lower()
        if suffix in DOCUMENTS:
            facts.documents += 1
        elif suffix in ROWS:
            texts += _look_at_rows(source, where, size, facts, beir=bool(queries))
    kinds = [f"{facts.rows:,} rows" if facts.rows else "", f"{facts.documents:,} documents" if facts.documents else ""]
    facts.read.append(f"{address}: {', '.join(filter(None, kinds)) or 'no rows'}")
    return texts


def _look_at_prepared(address: str, facts: DataFacts) -> list[str]:
    stats = storage.read_json(storage.join(address, "stats.json"))
    queries = stats["splits"]["train"]["queries"]
    facts.rows, facts.labelled = facts.rows + queries, True
    found = stats.get("languages") or {}
    facts.languages |= {code: count / max(1, sum(found.values())) for code, count in found.items()}
    facts.read.append(f"{address}: {queries:,} prepared queries")
    return []


def _files(address: str) -> Iterator[tuple[str, int, str]]:
    """Name, bytes and address of the files at an address, in a folder, or that wildcards mean."""
    from sharpen.data.readers.globs import expand

    for one in expand(address):
        if storage.is_remote(one):
            yield from ((file.name or one, file.size, file.uri) for file in storage.list_files(one))
            continue
        path = Path(one).expanduser()
        if not path.exists():
            raise InputError(f"train_data: {one}: no such file or folder")
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from ((file.name, file.stat().st_size, str(file)) for file in found if file.is_file())


def _look_at_rows(source: SourceSettings, where: str, size: int, facts: DataFacts, *, beir: bool) -> list[str]:
    """Count the rows of a file, and look at the first of them."""
    if storage.is_remote(where):
        facts.rows, facts.exact = facts.rows + max(1, size // _BYTES_A_ROW), False
        facts.labelled = True if facts.labelled is None else facts.labelled
        return []
    rows, count, exact = _rows(Path(where), size)
    facts.rows, facts.exact = facts.rows + count, facts.exact and exact
    labelled = beir or _is_labelled(rows, source, where)
    facts.labelled = labelled or bool(facts.labelled)
    return [text for row in rows for text in _texts(row)]


def _rows(path: Path, size: int) -> tuple[list[Mapping[str, Any]], int, bool]:
    """The first rows of a file, how many it has, and whether that was counted."""
    from sharpen.data.readers.lines import read_lines, uncompressed_name

    suffix = PurePosixPath(uncompressed_name(path.name)).suffix.lower()
    if suffix == ".parquet":
        import pyarrow.parquet as parquet

        file = parquet.ParquetFile(path)
        first = next(file.iter_batches(batch_size=SAMPLE), None)
        return first.to_pylist() if first is not None else [], file.metadata.num_rows, True
    first = _first_rows(path, suffix)
    number = consumed = counted = 0

    def add(count: int) -> None:
        nonlocal consumed, counted
        consumed, counted = consumed + count, number

    exact, header = size <= _COUNTED_BYTES, suffix in (".csv", ".tsv")
    for number, _ in islice(read_lines(path, str(path), add), None if exact else _ROWS_READ):  # noqa: B007 - add reads it
        pass
    count = number if exact else int(counted * size / max(1, consumed))
    return first, max(0, count - header), exact


def _first_rows(path: Path, suffix: str) -> list[Mapping[str, Any]]:
    from sharpen.data.readers.columns.delimited import read_records
    from sharpen.data.readers.lines import read_lines
    from sharpen.settings import load_json

    if suffix in (".csv", ".tsv"):
        _, records = read_records(path, str(path))
        return [row for _, row, *_ in islice(records, SAMPLE) if isinstance(row, Mapping)]
    found = []
    for _, line in islice(read_lines(path, str(path), lambda _: None), SAMPLE):
        with contextlib.suppress(ValueError):  # a bad row is told of by data preparation
            row = load_json(line.decode("utf-8", "replace"))
            found += [row] if isinstance(row, dict) else []
    return found


def _is_labelled(rows: list[Mapping[str, Any]], source: SourceSettings, where: str) -> bool:
    """Whether rows have a query or a label, by the names of their columns."""
    from sharpen.data.readers.columns.names import match

    names = list(dict.fromkeys(name for row in rows for name in row))
    found, _ = match(names, source, where)
    return bool({"query", "label", "clicked"} & {*found})


def _texts(row: Mapping[str, Any]) -> Iterator[str]:
    """The first text of a row, which is its query where it has one."""
    yield from islice((value for value in row.values() if isinstance(value, str) and len(value) > 15), 1)


def _languages(texts: list[str]) -> dict[str, float]:
    """Language -> share of the texts whose language can be said."""
    from sharpen.data.preparation.checks.language import language_of

    found = Counter(code for text in texts if (code := language_of(text)))
    return {code: count / found.total() for code, count in found.most_common()}


def _plain(name: str) -> str:
    return name.removesuffix(".gz").removesuffix(".zst")
