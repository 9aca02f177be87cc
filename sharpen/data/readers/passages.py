"""Candidate pools: passages that come without queries, beside rows or alone.

A corpus.jsonl of BEIR (``_id``, ``title``, ``text``), other JSON Lines, CSV, Parquet or a Hugging Face data set with a
column of texts, or the passages of a finished data set. Passages without an id get one from their text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from sharpen.data.dataset import QRELS, QUERIES, DataSet, empty
from sharpen.data.readers import beir
from sharpen.data.readers.columns import delimited, jsonl, parquet
from sharpen.data.readers.columns.names import match
from sharpen.data.readers.columns.table import Record, shown_row
from sharpen.data.readers.data_format import InputFile
from sharpen.data.readers.detect import format_of_file, format_of_folder
from sharpen.data.readers.globs import expand
from sharpen.data.readers.hub import huggingface
from sharpen.data.readers.json_rows import read_objects
from sharpen.data.readers.lines import uncompressed_name
from sharpen.data.readers.rows import ReadReport, RowError
from sharpen.data.readers.tables import DataSetBuilder
from sharpen.data.source_settings import HUB_SCHEMES, MTEB_SCHEME, SourceSettings, source_at
from sharpen.data.text import key_id, passage_text
from sharpen.errors import InputError
from sharpen.store import storage


def read_pool(settings: SourceSettings, report: ReadReport) -> DataSet:
    """The passages at an address, as a data set without queries.

    Args:
        settings: the address, and columns passage_id, title and text where they are called otherwise.
        report: takes bad rows and notices.

    Raises:
        InputError: nothing there, or no passage in it.
    """
    address, pool = settings.address, _Pool(settings, report)
    if not address.startswith(HUB_SCHEMES) and storage.is_complete(address):
        return DataSet(DataSet.open(address).corpus, empty(QUERIES), empty(QRELS))
    for one in expand(address):
        pool.read(one)
    data = pool.tables.data_set(report, address)
    if data.corpus.is_empty() and not report.counts:
        raise InputError(f"{address}: holds no passage; fill it or leave it out")
    return data


def holds_passages_only(address: str) -> bool:
    """Whether the first file at an address has a column of texts and none of queries.

    Raises:
        InputError: nothing there, or a file that is damaged.
    """
    if beir.passages_alone(address):
        return True
    if address.startswith(MTEB_SCHEME):
        return False
    settings, report = source_at(address), ReadReport()
    if not address.startswith(HUB_SCHEMES) and (storage.is_complete(address) or address.startswith("python-source:")):
        return False
    try:
        first = expand(address)[0]
        # a BEIR folder, whose passages `passages_alone` would have found if they came without queries
        if not huggingface.find(first) and _has_corpus(storage.localize(first)):
            return False
        names, _, shown = next(iter(_Pool(settings, report).tables_at(first)))
        of, _ = match(names, settings, shown)
    except (InputError, StopIteration):
        return False  # told when it is read as what it claims to be
    return "text" in of and not {"query", "label", "shown"} & of.keys()


def _has_corpus(path: Path) -> bool:
    return path.is_dir() and bool(beir.corpus_of({file.name for file in path.iterdir()}))


class _Pool:
    def __init__(self, settings: SourceSettings, report: ReadReport) -> None:
        self.settings, self.report = settings, report
        self.tables = DataSetBuilder()

    def read(self, address: str) -> None:
        """Add the passages at an address without wildcards."""
        for names, records, shown in self.tables_at(address):
            of, _ = match(names, self.settings, shown)
            if names and "text" not in of:
                raise InputError(f"{shown}: no column text; name it so, or say which it is: columns: {{text: ...}}")
            columns = {what: of[what][0] for what in ("passage_id", "title", "text") if what in of}
            for line, values, raw in records:
                try:
                    if isinstance(values, RowError):
                        raise values
                    self._add({what: values[name] for what, name in columns.items() if name in values})
                except RowError as fault:
                    self.report.add(shown, line, fault, shown_row(values) if raw is None else raw)

    def _add(self, row: dict) -> None:
        title, text = beir.passage_of(row)
        if row.get("passage_id") is None:
            passage_id = key_id(self.tables.key(passage_text(title, text)))
        else:
            passage_id = beir.id_of({"_id": row["passage_id"]})
        if row.get("passage_id") is not None and not self.tables.is_free(passage_id, text, title):
            raise RowError("repeated_id", "passage_id", f"{passage_id[:80]} is another passage on an earlier row")
        self.tables.add_passage(passage_id, title, text)

    def tables_at(self, address: str) -> Iterator[tuple[Sequence[str], Iterable[Record], str]]:
        """Names of the columns, rows and address of every file or split of passages at an address."""
        if found := huggingface.find(address):
            yield from self._splits(found)
            return
        path = storage.localize(address)
        if path.is_file():
            format_of_file(address, path.name)
            yield self._file(path, address)
            return
        names = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
        if corpus := beir.corpus_of(names):
            yield self._file(path / corpus, storage.join(address, corpus))
        elif files := huggingface.select(address, names):
            item = InputFile(address, "", huggingface.FORMAT, {name: path / name for name in files})
            yield from self._splits(item)
        else:
            chosen, files = format_of_folder(address, names)
            if not chosen.suffixes:
                raise InputError(f"{address}: {chosen.name} holds no passages alone; name its file of passages")
            for name in files:
                yield self._file(path / name, storage.join(address, name))

    def _splits(self, item: InputFile) -> Iterator[tuple[Sequence[str], Iterable[Record], str]]:
        for names, records in huggingface.splits_of(item).values():
            yield names, self._counted(records), item.address

    def _counted(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            self.report.rows += 1
            yield record

    def _file(self, path: Path, shown: str) -> tuple[Sequence[str], Iterable[Record], str]:
        plain = uncompressed_name(path.name)
        if plain.endswith(jsonl.FORMAT.suffixes):
            rows = read_objects(path, shown, self.report)
            first = list(islice(rows, jsonl.LOOKED_AT))
            return jsonl.names_in(first), chain(first, rows), shown
        reader = parquet if plain.endswith(parquet.FORMAT.suffixes) else delimited
        names, records = reader.read_records(path, shown)
        return names, self._counted(records), shown
