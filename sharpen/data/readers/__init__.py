"""Any input that a user may name, as a `DataSet`: one module a format, listed in `formats.FORMATS`."""

from __future__ import annotations

import logging
from dataclasses import replace

import polars as pl

from sharpen.data.dataset import SOURCES, DataSet
from sharpen.data.readers.combine import combine, distinct_names
from sharpen.data.readers.data_format import DataFormat, InputFile
from sharpen.data.readers.detect import detect_inputs, input_name, source_name
from sharpen.data.readers.passages import holds_passages_only, read_pool
from sharpen.data.readers.rows import REASONS, BadRow, ReadReport, RowError
from sharpen.data.source_settings import POOL_COLUMNS, SourceSettings, parse_sources, source_at, sources_text
from sharpen.data.task_type import TaskType, task_type
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
    "read_pool",
    "split_addresses",
]

logger = logging.getLogger(__name__)

_REPAIR = "Repair the rows, or run data_prep, which sets bad rows aside"


def read_dataset(uri: str, split: str = "train") -> DataSet:
    """Read input that must be without fault, for a step that is run by itself.

    Args:
        uri: an address, local or ``s3://``; several are separated by commas or stand in a JSON list, there also with
            settings, as `parse_sources` takes them.
        split: the split of rows that bring none (FlagEmbedding's format has no splits).

    Raises:
        InputError: nothing usable at the address, or any bad row: the first ones with file, line, field and reason.
    """
    sources = parse_sources(uri)
    if not sources:
        raise InputError("data: no address given")
    report = ReadReport()
    inputs = [item for source in sources for item in detect_inputs(source)]
    names = distinct_names([(item.name, item.address) for item in inputs])
    try:
        parts = {name: read_input(item, name, split, report) for name, item in zip(names, inputs, strict=True)}
    except InputError as error:
        # what is missing may be missing because its row was bad
        raise InputError([*error.faults, *(report.first_faults(_REPAIR) if report.counts else [])]) from None
    return _whole(parts, report)


def read_corpus(uri: str) -> DataSet:
    """As `read_dataset`, for a step that needs passages only: passages without queries and judgements will do."""
    sources = parse_sources(uri)
    if not any(alone := [holds_passages_only(source.address) for source in sources]):
        return read_dataset(uri)
    report = ReadReport()
    names = distinct_names([(input_name(source.address), source.address) for source in sources])
    parts = {
        name: read_pool(source, report) if is_alone else read_dataset(sources_text([source]))
        for name, source, is_alone in zip(names, sources, alone, strict=True)
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
    settings, pool = item.source, None
    if settings.corpus:
        of_rows, of_pool = ({}, {})
        for what, column in settings.columns.items():
            (of_pool if what in POOL_COLUMNS else of_rows)[what] = column
        pool = read_pool(source_at(settings.corpus).model_copy(update={"columns": of_pool}), report)
        of_item = settings.model_copy(update={"columns": of_rows})
        item = replace(item, pool=frozenset(pool.corpus["passage_id"]), settings=of_item)
    before = report.rows
    data = item.format.read(item, name, split, report)
    if item.format.suffixes and report.rows == before:
        raise InputError(f"{item.address}: holds no row; fill it or leave it out")
    if pool is not None:
        data = replace(data, corpus=pl.concat([pool.corpus, data.corpus]).unique("passage_id", keep="first"))
    return data if settings.is_plain else _as_source(data, settings)


def _as_source(data: DataSet, settings: SourceSettings) -> DataSet:
    """The data with what the user said of their source."""
    name, queries = source_name(settings), data.queries.with_columns(source=pl.lit(source_name(settings)))
    if settings.prompt:
        brought = pl.col("instruction").fill_null("") != ""
        queries = queries.with_columns(
            instruction=pl.when(brought).then("instruction").otherwise(pl.lit(settings.prompt))
        )
    if settings.task_type:
        usual = pl.col("task_type") == TaskType.RETRIEVAL.value
        kind = pl.lit(task_type(settings.task_type).value)
        queries = queries.with_columns(task_type=pl.when(usual).then(kind).otherwise("task_type"))
    trained = pl.DataFrame({"source": [name], "weight": [settings.weight], "in_batch": [settings.in_batch]}, SOURCES)
    is_usual = settings.weight == 1 and settings.in_batch == "all"
    return replace(data, queries=queries, sources=trained.clear() if is_usual else trained)
