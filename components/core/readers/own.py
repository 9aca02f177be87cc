"""Finished data sets, as the data_prep step writes them."""

from __future__ import annotations

from pathlib import Path

from components.core.readers.rows import Findings
from components.core.records import DataSet


def read_folder(folder: Path, findings: Findings) -> DataSet:
    """Read a finished data set; its rows were checked when it was written."""
    data = DataSet.load(folder)
    findings.rows += sum(data.counts().values())
    return data
