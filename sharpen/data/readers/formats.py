"""The kinds of input. The first that takes an address reads it."""

from __future__ import annotations

from sharpen.data.readers import beir, sharpen_format
from sharpen.data.readers.columns import delimited, jsonl, parquet
from sharpen.data.readers.data_format import DataFormat
from sharpen.data.readers.hub import huggingface, mteb
from sharpen.data.readers.python import source as python_source

FORMATS: tuple[DataFormat, ...] = (
    python_source.FORMAT,
    huggingface.HUB_FORMAT,
    mteb.FORMAT,
    sharpen_format.FORMAT,
    beir.FORMAT,
    huggingface.FORMAT,
    jsonl.FORMAT,
    delimited.FORMAT,
    parquet.FORMAT,
)
