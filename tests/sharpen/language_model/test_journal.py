"""The journal: whole after any end, one process at a time, copied to a store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sharpen.errors import InputError
from sharpen.generation.settings import GenerationSettings
from sharpen.language_model.journal import Journal, Record, open_journal
from sharpen.store import storage


def _settings(journal: str, model: str) -> GenerationSettings:
    return GenerationSettings.checked({"journal": journal, "model": model})


def _record(key: str) -> Record:
    return Record(request=key, status="answered", content=f"ä\u2028{key}", input_tokens=3, output_tokens=4)


def test_what_was_written_is_there(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "j.jsonl"
    with Journal(path).opened() as journal:
        journal.add(_record("a"))
        # on the disk at once
        assert json.loads(path.read_bytes())["request"] == "a"
        journal.add(_record("b"))
    with Journal(path).opened() as again:
        assert again.get("a") == _record("a") and again.get("b") == _record("b") and again.get("c") is None


def test_half_a_line_is_cut_off_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path).opened() as journal:
        journal.add(_record("a"))
    with path.open("ab") as file:
        file.write(b'{"request": "b", "sta')
    with Journal(path).opened() as again:
        assert set(again.records) == {"a"}
        again.add(_record("c"))
    assert [json.loads(line)["request"] for line in path.read_bytes().splitlines()] == ["a", "c"]


def test_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text('{"request": "a", "status": "answered"}\nnonsense\n')
    with pytest.raises(InputError, match=r"j\.jsonl, line 2: "), Journal(path).opened():
        pass


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "j.jsonl").opened(),
        pytest.raises(InputError, match="another process"),
        Journal(tmp_path / "j.jsonl").opened(),
    ):
        pass


@pytest.mark.store
def test_store_has_a_copy_that_another_machine_goes_on_from(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = storage.join(s3, "generation")
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "one"))
    with open_journal(_settings(address, "m")).opened() as journal:
        journal.add(_record("a"))
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "two"))
    with open_journal(_settings(address, "m")).opened() as journal:
        assert journal.get("a") == _record("a")
        journal.add(_record("b"))
    assert len(storage.read_bytes(journal.remote).splitlines()) == 2
    assert open_journal(_settings(address, "other")).remote != journal.remote
