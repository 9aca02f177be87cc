"""The lint of names: the list holds for the tree, and the checker sees what it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.project.words import FOLDERS, ROOT, Word, findings, read_words

WORDS = {"told": Word("reported"), "place": Word("position", ("sharpen/data", "pipeline/run.py"))}


def test_no_word_of_the_list_is_used_as_a_name() -> None:
    assert list(findings(ROOT, read_words())) == []


def test_every_word_has_a_replacement_and_no_folder_is_let_pass_whole() -> None:
    words = read_words()
    assert all(word.instead for word in words.values())
    assert not {allowed for word in words.values() for allowed in word.allowed} & {*FOLDERS, ""}


@pytest.mark.parametrize(
    ("file", "source", "found"),
    [
        ("sharpen/a.py", "def told_by(): ...", "sharpen/a.py:1: told_by: write reported instead of told"),
        ("sharpen/a.py", "\nclass ToldToEnd: ...", "sharpen/a.py:2: ToldToEnd: write reported instead of told"),
        ("components/a.py", "def f(*, told=0): ...", "components/a.py:1: told: write reported instead of told"),
        ("sharpen/a.py", "for told in x: ...", "sharpen/a.py:1: told: write reported instead of told"),
        ("sharpen/a.py", "self._told = 1", "sharpen/a.py:1: _told: write reported instead of told"),
        ("sharpen/a.py", "import b as told", "sharpen/a.py:1: told: write reported instead of told"),
        ("pipeline/told.py", "", "pipeline/told.py:1: told: write reported instead of told"),
        ("sharpen/database/a.py", "place = 1", "sharpen/database/a.py:1: place: write position instead of place"),
        ("sharpen/data/a.py", "place = 1", None),
        ("pipeline/run.py", "place = 1", None),
        ("sharpen/a.py", "placeholder = untold = 1  # told", None),
        ("sharpen/a.py", "numpy.place(told)", None),
    ],
)
def test_what_the_checker_sees(tmp_path: Path, file: str, source: str, found: str | None) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(source)
    assert list(findings(tmp_path, WORDS)) == ([found] if found else [])
