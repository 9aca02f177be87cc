"""Folders, collections of passages, and what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sharpen.errors import InputError
from sharpen.generation.documents.read import read_passages
from sharpen.generation.settings import GenerationSettings

SETTINGS = GenerationSettings.checked({"chunk_characters": 100, "chunk_overlap": 20})


def test_folder_of_documents_is_cut_and_named(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "long.txt").write_text(" ".join(f"Sentence number {n}." for n in range(40)))
    (tmp_path / "short.md").write_text("# Title\n\nShort.")
    (tmp_path / "copy.md").write_text("# Title\n\nShort.")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.txt").write_text("not a document")
    (tmp_path / "picture.png").write_bytes(b"x")
    passages = read_passages(str(tmp_path), SETTINGS)
    table = passages.table.to_dicts()
    assert [row["passage_id"] for row in table][:2] == ["copy.md", "sub/long.txt#01"]
    assert table[0]["title"] == "Title"
    assert {row["document"] for row in table} == {"copy.md", "sub/long.txt"}
    assert passages.facts == {
        "documents": 3,
        "formats": {".md": 2, ".txt": 1},
        "unreadable": [],
        "passages_given": 0,
        "equal_passages": 1,
    }


def test_passages_are_taken_as_they_are(tmp_path: Path) -> None:
    rows = [{"_id": "a", "title": "T", "text": "x" * 500}, {"_id": "b", "text": "other"}]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "README.md").write_text("about")
    table = read_passages(str(tmp_path), SETTINGS).table
    assert table["passage_id"].to_list() == ["a", "b"]
    assert table["document"].null_count() == 2


def test_queries_of_a_data_set_are_not_needed(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"query": "q", "pos": ["the passage"], "neg": ["another"]}) + "\n")
    assert sorted(read_passages(str(tmp_path / "rows.jsonl"), SETTINGS).table["text"]) == ["another", "the passage"]


def test_few_unreadable_documents_pass_and_many_do_not(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("something")
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    facts = read_passages(str(tmp_path), SETTINGS).facts
    assert facts["unreadable"] == ["documents: bad.txt: not UTF-8 text (byte 1); convert it"]
    (tmp_path / "bad2.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match="2 of 3 cannot be read, more than max_bad_documents"):
        read_passages(str(tmp_path), SETTINGS)


def test_nothing_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing"):
        read_passages(str(tmp_path / "nothing"), SETTINGS)
