"""Rows in files give the tables that rows in memory give."""

from __future__ import annotations

import threading
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


@settings(max_examples=20)
@given(
    keys=st.lists(st.sampled_from(["", "a", "ab", "b", "é", "z", "zz"]), max_size=40),
    at_once=st.integers(1, 9),
    bytes_=st.sampled_from([1, 3000, 10**6]),
)
def test_ranges_of_keys_are_whole_and_in_order(keys: list[str], at_once: int, bytes_: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "ROWS_IN_MEMORY", at_once)
        patch.setattr(spill, "RANGE_BYTES", bytes_)
        patch.setattr(spill, "_SAMPLED", 2)
        rows = spill.Rows({"key": pl.String, "number": pl.Int64})
        for number, key in enumerate(keys):
            rows.add(key, number)
        seen = []

        def finish(part: pl.DataFrame) -> pl.DataFrame:
            seen.append(set(part["key"]))
            return part.group_by("key").agg(pl.col("number").sum()).sort("key")

        found = rows.by_ranges("key", finish)
    expected = {key: sum(number for number, other in enumerate(keys) if other == key) for key in sorted(set(keys))}
    assert dict(found.rows()) == expected and found["key"].to_list() == list(expected)
    assert sum(map(len, seen)) == len(expected)


def test_pages_of_mapped_files_are_given_back_while_the_table_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    release = spill._release

    def released_now(files: list) -> None:
        release(files)
        released.set()

    monkeypatch.setattr(spill, "_PAGES_BYTES", 0)
    monkeypatch.setattr(spill, "_release", released_now)
    table = spill.mapped(pl.LazyFrame({"text": [f"a text that is not short, number {n}" for n in range(100_000)]}))
    before = table["text"].str.len_bytes().sum()
    assert released.wait(10)
    assert table["text"].str.len_bytes().sum() == before
    del table
    threads = [thread for thread in threading.enumerate() if thread.name == "pages-of-mapped-files"]
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_a_data_set_is_the_same_from_files_and_from_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [pair(n % 50, pos=[f"p {n}", f"p {n % 55}"], neg=[f"n {n}"], group=f"g{n % 7}") for n in range(120)]
    path = str(write_rows(tmp_path / "a.jsonl", rows))
    in_memory = read_dataset(path)
    monkeypatch.setattr(spill, "ROWS_IN_MEMORY", 10)
    monkeypatch.setattr(spill, "RANGE_BYTES", 4000)
    in_files = read_dataset(path)
    assert in_files.fingerprint() == in_memory.fingerprint()
    assert in_files.corpus.equals(in_memory.corpus) and in_files.queries.equals(in_memory.queries)


def test_a_table_made_in_slices_is_whole_and_scattered_texts_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "ROWS_IN_MEMORY", 10)
    monkeypatch.setattr(spill, "_SLICE", 7)
    monkeypatch.setattr(spill, "_SCATTERED", 3)
    texts = [f"text {number}" for number in range(25)]

    def part(start: int, length: int) -> pl.DataFrame:
        return pl.DataFrame({"text": texts[start : start + length]})

    for rows in (5, 25):
        table = spill.in_slices(rows, part)
        assert table["text"].to_list() == spill.in_memory(table["text"]) == texts[:rows]
        numbers = [number for number in (0, 3, 6, 7, 13, 24) if number < rows]
        some = spill.rows_of(table, pl.Series(numbers, dtype=pl.UInt32))
        assert some["text"].to_list() == [texts[number] for number in numbers]


def test_all_columns_of_a_table_have_their_parts_at_the_same_rows() -> None:
    parts = [pl.DataFrame({"number": range(start, start + 3)}) for start in (0, 3, 6)]
    table = pl.concat(parts, rechunk=False)
    other = pl.concat([pl.Series("other", range(5)), pl.Series("other", range(5, 9))], rechunk=False)
    both = spill.with_constant(spill.with_column(table, other), "empty", "", pl.String)
    assert [column.chunk_lengths() for column in both] == [[3, 2, 1, 3]] * 3
    assert both.rows() == [(number, number, "") for number in range(9)]
    assert spill.with_constant(table.clear(), "time", None, pl.Datetime("us", "UTC")).schema["time"] == pl.Datetime(
        "us", "UTC"
    )


def test_columns_with_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "_SLICE", 3)
    column = pl.Series(["a", None, "c", "d", "e"])
    assert spill.same_values(column, pl.concat([column[:2], column[2:]], rechunk=False))
    assert not spill.same_values(column, column[:4])
    assert not spill.same_values(column, pl.Series(["a", None, "c", "d", "f"]))
