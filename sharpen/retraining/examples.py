"""The examples behind addresses, as a sorted array of 64-bit hashes: two arrays tell how many examples are new.

An example is a query with one of its positives, and what it is for: text and instruction of the query, text of the
passage, role and split. Texts count as `normalize`, so another order of the rows, another file format or another
spacing makes no example new. Passages that answer no query, negatives and scores are no examples.

Inputs are read row by row. Memory grows by 8 bytes an example, for a BEIR folder by 32 more; not with the corpus.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import polars as pl

from sharpen.data.dataset import CORPUS, QRELS, DataSet
from sharpen.data.parquet import parquet_faults
from sharpen.data.preparation.python_files import is_python_source
from sharpen.data.preparation.python_source import read_python
from sharpen.data.preparation.sources import SPLIT_OF_ROLE, Role
from sharpen.data.readers import (
    InputFile,
    InputFormat,
    ReadReport,
    RowError,
    detect_inputs,
    flagembedding,
    sharpen_format,
)
from sharpen.data.readers.beir import id_of, is_header, parse_judgement, passage_of, query_of, split_of
from sharpen.data.readers.json_rows import parse_object, read_objects
from sharpen.data.readers.lines import read_lines
from sharpen.data.text import normalize, passage_text
from sharpen.errors import InputError
from sharpen.progress import progress

# no text that is normalised holds it: it counts as white space
_BETWEEN = "\x1f"


def hashes_of(train_data: list[str], eval_data: list[str]) -> np.ndarray:
    """Hashes of all examples of a run.

    Rows that cannot be used are passed over; data_prep tells of them.

    Returns:
        uint64, sorted, without repeats.

    Raises:
        InputError: missing, empty or unusable input.
    """
    found = array("Q")
    roles: tuple[tuple[Role, list[str]], ...] = (("train", train_data), ("eval", eval_data))
    addresses = [(SPLIT_OF_ROLE[role], role, address) for role, named in roles for address in dict.fromkeys(named)]
    with progress("counting examples", len(addresses), "inputs") as reporter:
        for default, role, address in addresses:
            for query, passage, split in _examples(address, default):
                found.append(_hash(role, split, f"{query:x}", f"{passage:x}"))
            reporter.advance(1)
    return np.unique(np.frombuffer(found, dtype=np.uint64))


def as_bytes(hashes: np.ndarray) -> bytes:
    """The array as a file: 8 bytes an example, little-endian, ascending."""
    return hashes.astype("<u8").tobytes()


def from_bytes(data: bytes) -> np.ndarray:
    """The array of `as_bytes`."""
    return np.frombuffer(data, dtype="<u8").astype(np.uint64)


def difference(now: np.ndarray, before: np.ndarray) -> tuple[int, int]:
    """How many examples are new, and how many are gone."""
    common = np.intersect1d(now, before, assume_unique=True).size
    return now.size - common, before.size - common


def _hash(*parts: str) -> int:
    return int.from_bytes(hashlib.blake2b(_BETWEEN.join(parts).encode(), digest_size=8).digest(), "little")


def _query_hash(text: str, instruction: str) -> int:
    return _hash(normalize(instruction), normalize(text))


def _passage_hash(title: str, text: str) -> int:
    return _hash(normalize(passage_text(title, text)))


def _examples(address: str, split: str) -> Iterator[tuple[int, int, str]]:
    """Hash of the query, hash of the positive, split; may repeat."""
    if is_python_source(address):
        yield from _of_tables(_read_python(address, split))
        return
    for place in detect_inputs(address):
        if place.kind is InputFormat.FLAGEMBEDDING:
            yield from _of_rows(place, split)
        elif place.kind is InputFormat.BEIR:
            yield from _of_beir(place)
        else:
            yield from _of_finished(place)


def _read_python(address: str, split: str) -> DataSet:
    findings = ReadReport()
    try:
        return read_python(address, "", split, findings)[0]
    except InputError as error:
        if not findings.counts:
            raise
        raise InputError([*error.faults, *findings.first_faults("Repair the files, or leave them out")]) from None


def _of_rows(place: InputFile, split: str) -> Iterator[tuple[int, int, str]]:
    for _, values, _ in read_objects(place.paths[0], place.address, ReadReport()):
        try:
            row = flagembedding.parse(values)
        except RowError:
            continue
        query = _query_hash(row.query, row.instruction)
        for text in row.pos:
            yield query, _passage_hash("", text), split


def _of_tables(data: DataSet) -> Iterator[tuple[int, int, str]]:
    queries = {
        key: _query_hash(text, said) for key, text, said in data.queries["query_id", "text", "instruction"].iter_rows()
    }
    passages = {
        key: _passage_hash(title, text)
        for key, title, text in data.corpus.select("passage_id", "title", "text").iter_rows()
    }
    judged = data.qrels.filter(pl.col("grade") > 0).select("query_id", "passage_id", "split")
    for query, passage, split in judged.iter_rows():
        yield queries[query], passages[passage], split


def _of_finished(place: InputFile) -> Iterator[tuple[int, int, str]]:
    """Of a data set of ours: only rows of queries and passages that are judged are read."""

    def scan(name: str, columns: Iterable[str]) -> pl.LazyFrame:
        return pl.scan_parquet(sorted((place.folder / name).glob("*.parquet")), glob=False).select(list(columns))

    with parquet_faults(place.address):
        judged = scan("qrels", QRELS).filter(pl.col("grade") > 0)
        data = DataSet(
            corpus=scan("corpus", CORPUS).join(judged, on="passage_id", how="semi").collect(engine="streaming"),
            queries=scan("queries", ["query_id", "text", "instruction"])
            .join(judged, on="query_id", how="semi")
            .collect(engine="streaming"),
            qrels=judged.collect(engine="streaming"),
        )
    sharpen_format.refuse_faults(data, place.address)
    yield from _of_tables(data)


def _of_beir(place: InputFile) -> Iterator[tuple[int, int, str]]:
    """Judgements first, so that of a corpus of any size only the judged passages leave a hash."""
    corpus, queries, *judged = sorted(place.names, key=lambda name: (name.startswith("qrels/"), name))
    asked, answered, pairs_of_split = array("Q"), array("Q"), []
    for name in judged:
        before = len(asked)
        for query_id, passage_id in _judgements(place, name):
            asked.append(_hash(query_id))
            answered.append(_hash(passage_id))
        pairs_of_split.append((split_of(name), len(asked) - before))
    queries_of_ids = _hashes_of(asked, _rows(place, queries, _query_of))
    texts_of_ids = _hashes_of(asked, _rows(place, queries, _text_of))
    passages_of_ids = _hashes_of(answered, _rows(place, corpus, lambda values: _passage_hash(*passage_of(values))))
    at = 0
    for split, pairs in pairs_of_split:
        part = slice(at, at + pairs)
        for query, text, passage in zip(queries_of_ids[part], texts_of_ids[part], passages_of_ids[part], strict=True):
            # as the reader has it: what is trained on must not answer a query with itself
            if query and passage and not (split == "train" and text == passage):
                yield int(query), int(passage), split
        at += pairs


def _query_of(values: dict[str, Any]) -> int:
    return _query_hash(query_of(values)[0], "")


def _text_of(values: dict[str, Any]) -> int:
    """The hash that a passage of the query's text would have."""
    return _passage_hash("", query_of(values)[0])


def _judgements(place: InputFile, name: str) -> Iterator[tuple[str, str]]:
    """Query id and passage id of every line with a grade above 0."""
    lines = read_lines(place.folder / name, place.shown(name), lambda _: None)
    for number, (_, line) in enumerate(lines):
        if number == 0 and is_header(line):
            continue
        try:
            query_id, passage_id, grade = parse_judgement(line)
        except RowError:
            continue
        if grade > 0:
            yield query_id, passage_id


def _rows(place: InputFile, name: str, hashed: Callable[[dict[str, Any]], int]) -> Iterator[tuple[int, int]]:
    """Hash of the id, and what `hashed` makes of the row, of every row that the reader takes."""
    for _, line in read_lines(place.folder / name, place.shown(name), lambda _: None):
        try:
            values = parse_object(line)
            yield _hash(id_of(values)), hashed(values)
        except RowError:
            continue


def _hashes_of(wanted: array[int], rows: Iterable[tuple[int, int]]) -> np.ndarray:
    """The hash of every wanted id's row, 0 for one that no row has; of several rows the first counts."""
    ids, places = np.unique(np.frombuffer(wanted, dtype=np.uint64), return_inverse=True)
    texts = np.zeros(ids.size, dtype=np.uint64)
    for key, text in rows:
        at = int(np.searchsorted(ids, np.uint64(key)))
        if at < ids.size and ids[at] == key and not texts[at]:
            texts[at] = text
    return texts[places]
