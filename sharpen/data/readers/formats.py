"""The kinds of input. The first that takes an address reads it."""

from __future__ import annotations

from sharpen.data.readers import beir, delimited, flagembedding, sharpen_format
from sharpen.data.readers.data_format import DataFormat
from sharpen.data.readers.python import source as python_source

FORMATS: tuple[DataFormat, ...] = (
    sharpen_format.FORMAT,
    python_source.FORMAT,
    beir.FORMAT,
    flagembedding.FORMAT,
    delimited.FORMAT,
)
