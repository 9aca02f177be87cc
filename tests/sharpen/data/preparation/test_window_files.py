"""Which files of a folder, of a prefix and of an address with wildcards can hold rows of a window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sharpen.data.preparation.window_files import files_in_window
from sharpen.data.window import Window
from sharpen.store import storage
from tests.sharpen.data.input_files import pair, passage, question, write_beir, write_rows

# the days before a window from the 10th end at its start
FILES = ("2026-10-09/a.jsonl", "2026-10-10/a.jsonl", "2026/10/11/b.jsonl", "2026-09/c.jsonl", "undated.jsonl")
WINDOW = Window(datetime(2026, 10, 10, tzinfo=UTC), "2026-10-10")


@pytest.fixture(params=["here", pytest.param("store", marks=pytest.mark.store)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    # a date before what is listed is the name of the export, not of its rows
    name = "export 2020-01-01"
    where = str(tmp_path / name) if request.param == "here" else f"{request.getfixturevalue('s3')}/windows/{name}"
    for name in FILES:
        storage.write_bytes(storage.join(where, name), b"{}\n")
    return where


@pytest.mark.parametrize("pattern", ["", "/**/*.jsonl", "/**"])
def test_older_files_are_known_by_the_date_in_their_path(root: str, pattern: str) -> None:
    if not pattern:
        storage.delete(storage.join(root, "undated.jsonl"))  # beside rows, folders are not read
    found = files_in_window(root + pattern, WINDOW)
    assert found is not None
    undated = [] if not pattern else ["undated.jsonl"]
    assert sorted(found.inside) == sorted(storage.join(root, name) for name in (*FILES[1:3], *undated))
    assert sorted(found.older) == sorted(storage.join(root, name) for name in (FILES[0], FILES[3]))
    assert (found.counts["files"], found.counts["older"], found.by_path) == (4 + len(undated), 2, 4)


@pytest.mark.store
def test_in_a_store_files_without_a_date_are_known_by_when_they_were_last_written(s3: str) -> None:
    where, now = f"{s3}/windows/undated", datetime.now(UTC)
    for name in ("a.jsonl", "b.jsonl"):
        storage.write_bytes(storage.join(where, name), b"{}\n")
    for days, older in ((-1, 0), (1, 2)):
        found = files_in_window(where, Window(now + timedelta(days=days), "x"))
        assert found is not None
        assert (len(found.inside), len(found.older), found.by_modification) == (2 - older, older, 2)


def test_inputs_that_are_one_whole_have_no_files_to_choose_from(tmp_path: Path) -> None:
    beir = write_beir(tmp_path / "beir 2020-01-01", [passage(1)], [question(1)], {"train": ["q1\tp1\t1"]})
    file = write_rows(tmp_path / "2020-01-01.jsonl", [pair(1)])
    for address in (str(beir), str(file), "python-source:stdlib", "hf://team/data"):
        assert files_in_window(address, WINDOW) is None
