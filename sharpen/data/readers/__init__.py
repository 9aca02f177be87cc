"""Any input that a user may name, as a `DataSet`: one module a format, listed in `formats.FORMATS`."""

from __future__ import annotations

import logging

from sharpen.data.dataset import DataSet
from sharpen.data.readers import beir
from sharpen.data.readers.combine import combine, distinct_names
from sharpen.data.readers.data_format import DataFormat, InputFile
from sharpen.data.readers.detect import detect_inputs, input_name
from sharpen.data.readers.rows import REASONS, BadRow, ReadReport, RowError
from sharpen.errors import InputError
from sharpen.uri import split_addresses

__all__ = [
    "REASONS",
    "BadRow",
    "DataFormat",
    "InputFile",
    "ReadReport",
    "RowError",
    "combine",
    "detect_inputs",
    "distinct_names",
    "input_name",
    "read_corpus",
    "read_dataset",
    "read_input",
    "split_addresses",
]

logger = logging.getLogger(__name__)

_REPAIR = "Repair the rows, or run data_prep, which sets bad rows aside"


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
    report = ReadReport()
    inputs = [item for address in addresses for item in detect_inputs(address)]
    names = distinct_names([(item.name, item.address) for item in inputs])
    try:
        parts = {name: read_input(item, name, split, report) for name, item in zip(names, inputs, strict=True)}
    except InputError as error:
        # what is missing may be missing because its row was bad
        raise InputError([*error.faults, *(report.first_faults(_REPAIR) if report.counts else [])]) from None
    return _whole(parts, report)


def read_corpus(uri: str) -> DataSet:
    """As `read_dataset`, for a step that needs passages only: a corpus.jsonl without queries and judgements will do."""
    addresses = split_addresses(uri)
    files = {address: beir.passages_alone(address) for address in addresses}
    if not any(files.values()):
        return read_dataset(uri)
    report = ReadReport()
    names = distinct_names([(input_name(address), address) for address in addresses])
    parts = {
        name: beir.read_passages(file, address, report) if (file := files[address]) else read_dataset(address)
        for name, address in zip(names, addresses, strict=True)
    }
    return _whole(parts, report)


def _whole(parts: dict[str, DataSet], report: ReadReport) -> DataSet:
    if report.counts:
        raise InputError(report.first_faults(_REPAIR))
    for what, count in sorted(report.notices.items()):
        logger.warning(f"note: {what} ({count:,}x)")
    return combine(parts)


def read_input(item: InputFile, name: str, split: str, report: ReadReport) -> DataSet:
    """Read one input; bad rows and notices go to `report`.

    Args:
        item: what `detect_inputs` found.
        name: name of the source.
        split: the split of rows that bring none.
        report: takes bad rows and notices.

    Raises:
        InputError: a file without a single row.
    """
    before = report.rows
    data = item.format.read(item, name, split, report)
    if item.format.suffixes and report.rows == before:
        raise InputError(f"{item.address}: holds no row; fill it or leave it out")
    return data
