"""Rows in files give the tables that rows in memory give."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sharpen.data.readers import read_dataset
from sharpen.hardware import spill
from tests.sharpen.data.input_files import pair, write_rows


def test_rows_come_back_in_their_order_from_files_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "ROWS_IN_MEMORY", 3)
    rows = spill.Rows({"text": pl.String, "number": pl.Int64})
    for number in range(8):
        rows.add(str(number), number)
    assert len(rows) == 8 and rows.on_disk
    assert rows.lazy().collect().rows() == [(str(number), number) for number in range(8)]


def test_tables_and_rows_come_back_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "ROWS_IN_MEMORY", 5)
    rows = spill.Rows({"number": pl.Int64})
    for start in (0, 3, 6, 9):
        rows.add(start)
        rows.extend(pl.DataFrame({"number": [start + 1, start + 2]}))
    rows.extend(pl.DataFrame({"number": []}, schema={"number": pl.Int64}))
    assert len(rows) == 12 and rows.on_disk
    assert rows.lazy().collect()["number"].to_list() == list(range(12))


def test_a_mapped_table_outlives_its_file() -> None:
    table = spill.mapped(pl.LazyFrame({"number": range(1000)}).filter(pl.col("number") % 2 == 0))
    assert table["number"].sum() == sum(range(0, 1000, 2))


def test_a_data_set_is_the_same_from_files_and_from_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [pair(n % 50, pos=[f"p {n}", f"p {n % 55}"], neg=[f"n {n}"], group=f"g{n % 7}") for n in range(120)]
    path = str(write_rows(tmp_path / "a.jsonl", rows))
    in_memory = read_dataset(path)
    monkeypatch.setattr(spill, "ROWS_IN_MEMORY", 10)
    in_files = read_dataset(path)
    assert in_files.fingerprint() == in_memory.fingerprint()
    assert in_files.corpus.equals(in_memory.corpus) and in_files.queries.equals(in_memory.queries)
