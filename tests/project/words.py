"""Words that must not come back as names: ``python -m tests.project.words``.

`words.txt` has a word a line, the field's word for it, and the folders that may still use it. A name breaks the rule
if one of its parts (``told_by``, ``ToldToEnd``) is such a word; a file's name is a name, too.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("words.txt")
FOLDERS = ("sharpen", "components", "pipeline")
PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


class Word(NamedTuple):
    """What to write instead, and the files and folders (relative to the root) in which the word is let pass."""

    instead: str
    allowed: tuple[str, ...] = ()


def read_words() -> dict[str, Word]:
    """The list: word -> `Word`."""
    words: dict[str, Word] = {}
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            word, instead, *allowed = (part.strip() for part in line.split("|"))
            words[word] = Word(instead, tuple(" ".join(allowed).split()))
    return words


def defined_names(source: str) -> Iterator[tuple[int, str]]:
    """(line, name) of everything that the source gives a name to: functions, classes, arguments, variables, fields."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr
            case ast.alias(asname=str(name)):
                yield node.lineno, name


def findings(root: Path, words: dict[str, Word]) -> Iterator[str]:
    """One line for each name below `root`'s folders that has a word of the list in it."""
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py")):
        relative = path.relative_to(root).as_posix()
        for line, name in [(1, path.stem), *sorted(set(defined_names(path.read_text(encoding="utf-8"))))]:
            for part in {part.lower() for part in PART.findall(name)} & words.keys():
                if not any(
                    relative == allowed or relative.startswith(f"{allowed}/") for allowed in words[part].allowed
                ):
                    yield f"{relative}:{line}: {name}: write {words[part].instead} instead of {part}"


if __name__ == "__main__":
    lines = list(findings(ROOT, read_words()))
    print("\n".join(lines[:50]) or "words: none of the list is used as a name")
    sys.exit(bool(lines))
