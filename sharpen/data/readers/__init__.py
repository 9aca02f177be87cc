"""Any input that a user may name, as a `DataSet`: FlagEmbedding rows, a BEIR folder, or a finished data set of ours."""

from __future__ import annotations

import logging

from sharpen.data.dataset import DataSet
from sharpen.data.readers import beir, flagembedding, passages, sharpen_format
from sharpen.data.readers.combine import combine, distinct_names
from sharpen.data.readers.detect import InputFile, InputFormat, detect_inputs, input_name, kind_of
from sharpen.data.readers.rows import REASONS, BadRow, ReadReport, RowError
from sharpen.errors import InputError
from sharpen.uri import split_addresses

logger = logging.getLogger(__name__)

__all__ = [
    "REASONS",
    "BadRow",
    "InputFile",
    "InputFormat",
    "ReadReport",
    "RowError",
    "combine",
    "detect_inputs",
    "distinct_names",
    "input_name",
    "kind_of",
    "read_corpus",
    "read_dataset",
    "read_place",
    "split_addresses",
]


def read_dataset(uri: str, split: str = "train") -> DataSet:
    """Read input that must be without fault, for a step that is run by itself.

    Args:
        uri: an address, local or ``s3://``; several are separated by commas or stand in a JSON list.
        split: the split of rows that bring none (FlagEmbedding's format has no splits).

    Raises:
        InputError: nothing usable at the address, or any bad row: the first ones with file, line, field and reason.
    """
    addresses = split_addresses(uri)
    if not addresses:
        raise InputError("data: no address given")
    findings = ReadReport()
    places = [place for address in addresses for place in detect_inputs(address)]
    names = distinct_names([(input_name(place.address), place.address) for place in places])
    parts = {name: read_place(place, name, split, findings) for name, place in zip(names, places, strict=True)}
    return _whole(parts, findings)


def read_corpus(uri: str) -> DataSet:
    """As `read_dataset`, for a step that needs passages only: a corpus.jsonl without queries and judgements will do."""
    addresses = split_addresses(uri)
    files = {address: passages.alone(address) for address in addresses}
    if not any(files.values()):
        return read_dataset(uri)
    findings = ReadReport()
    names = distinct_names([(input_name(address), address) for address in addresses])
    parts = {}
    for name, address in zip(names, addresses, strict=True):
        if file := files[address]:
            folder = address.rstrip("/").removesuffix(file.name) or "."
            parts[name] = beir.read_passages(file.parent, folder, file.name, findings)
        else:
            parts[name] = read_dataset(address)
    return _whole(parts, findings)


def _whole(parts: dict[str, DataSet], findings: ReadReport) -> DataSet:
    if findings.counts:
        raise InputError(findings.first_faults("Repair the rows, or run data_prep, which sets bad rows aside"))
    for what, count in sorted(findings.notices.items()):
        logger.warning(f"note: {what} ({count:,}x)")
    return combine(parts)


def read_place(place: InputFile, name: str, split: str, findings: ReadReport) -> DataSet:
    """Read one input; bad rows and notices go to `findings`.

    Args:
        place: what `detect_inputs` found.
        name: name of the source.
        split: the split of rows that bring none.
        findings: takes bad rows and notices.

    Raises:
        InputError: a file without a single row.
    """
    if place.kind is InputFormat.FINISHED:
        return sharpen_format.read_folder(place.folder, place.address, findings)
    if place.kind is InputFormat.BEIR:
        data = beir.read_folder(place.folder, place.address, place.names, name, findings)
        if data.corpus.is_empty() and not findings.counts:
            raise InputError(f"{place.shown('corpus.jsonl')}: holds no passage; fill it or leave it out")
        return data
    before = findings.rows
    data = flagembedding.read_file(place.paths[0], place.address, name, split, findings)
    if findings.rows == before:
        raise InputError(f"{place.address}: holds no row; fill it or leave it out")
    return data
