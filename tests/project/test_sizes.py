"""What fits into a head: the length of files and functions, and how many files a folder holds."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project.words import FOLDERS, ROOT

FILE, FUNCTION, FOLDER = 300, 60, 15
# a step of KFP has its inputs and outputs in its signature
EXCEPTIONS = {"pipeline/plan.py:plan"}


def too_large(root: Path) -> Iterator[str]:
    """``what: how much`` of files, functions and folders (``__init__.py`` apart) above the bounds."""
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    for path in paths:
        name, source = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        if (lines := source.count("\n")) > FILE:
            yield f"{name}: {lines} lines, {FILE} at most"
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION and f"{name}:{node.name}" not in EXCEPTIONS:
                    yield f"{name}:{node.name}: {lines} lines, {FUNCTION} at most"
    for folder, files in Counter(path.parent for path in paths if path.name != "__init__.py").items():
        if files > FOLDER:
            yield f"{folder.relative_to(root).as_posix()}: {files} files, {FOLDER} at most; find the second subject"


def test_files_functions_and_folders_fit_into_a_head() -> None:
    assert list(too_large(ROOT)) == []


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"sharpen/a.py": "x = 1\n" * 301}, ["sharpen/a.py: 301 lines, 300 at most"]),
        ({"sharpen/a.py": "def f():\n" + "    x = 1\n" * 60}, ["sharpen/a.py:f: 61 lines, 60 at most"]),
        ({"sharpen/a.py": "def f():\n" + "    x = 1\n" * 59}, []),
        (
            {f"sharpen/a/m{n}.py": "" for n in range(16)} | {"sharpen/a/__init__.py": ""},
            ["sharpen/a: 16 files, 15 at most; find the second subject"],
        ),
    ],
)
def test_what_is_counted(tmp_path: Path, files: dict[str, str], found: list[str]) -> None:
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    assert list(too_large(tmp_path)) == found
