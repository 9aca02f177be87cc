"""Public functions with three or more parameters say what each is, in ``Args`` or in words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project.words import FOLDERS, ROOT

# "arguments as for `top_k`" and the like: another docstring says it
ELSEWHERE = re.compile(r"rguments as|arguments as in|as for `|as in `", re.IGNORECASE)
# rooms that do not hold the rule yet
EXEMPT = ("components", "pipeline", "sharpen/jobs", "sharpen/registry", "sharpen/store")


def undocumented(root: Path) -> Iterator[str]:
    """``file:line: name: parameter ...`` of parameters that a docstring, of the class too, does not speak of."""
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith(EXEMPT):
            for line, function, missing in _functions(ast.parse(path.read_text(encoding="utf-8"))):
                yield f"{name}:{line}: {function}: {' '.join(missing)}"


def _functions(node: ast.Module | ast.ClassDef) -> Iterator[tuple[int, str, list[str]]]:
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _functions(child)
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        arguments = [*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs]
        parameters = [one.arg for one in arguments if one.arg not in ("self", "cls")]
        if len(parameters) < 3 or (child.name.startswith("_") and child.name != "__init__"):
            continue
        text = ast.get_docstring(child) or ""
        if child.name == "__init__":
            text += " " + (ast.get_docstring(node) or "")
        if not ELSEWHERE.search(text) and (missing := [one for one in parameters if not _named(one, text)]):
            yield child.lineno, child.name, missing


def _named(parameter: str, text: str) -> bool:
    """Whether a text has the word, in singular or plural."""
    return re.search(rf"\b({parameter}|{parameter}s|{parameter.removesuffix('s')})\b", text, re.IGNORECASE) is not None


def stale(root: Path) -> Iterator[str]:
    """Entries of ``Args`` that no parameter has, and of ``Attributes`` that no class has."""
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                named, known = (
                    _entries(node, "Args"),
                    {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)},
                )
            elif isinstance(node, ast.ClassDef) and not node.bases:
                named, known = _entries(node, "Attributes"), set(_attributes(node))
            else:
                continue
            for name in sorted(named - known):
                yield f"{path.relative_to(root).as_posix()}:{node.lineno}: {node.name}: {name}"


def _entries(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, title: str) -> set[str]:
    _, _, block = f"\n{ast.get_docstring(node) or ''}".partition(f"\n{title}:\n")
    names = re.findall(r"^    (\*{0,2}\w+(?:, \w+)*): ", block.partition("\n\n")[0], re.MULTILINE)
    return {name.strip(" *") for group in names for name in group.split(",")}


def _attributes(node: ast.ClassDef) -> Iterator[str]:
    for one in ast.walk(node):
        match one:
            case ast.FunctionDef():
                yield one.name
            case ast.Name(ctx=ast.Store()):
                yield one.id
            case ast.Attribute(ctx=ast.Store()):
                yield one.attr


def test_every_parameter_is_documented_and_nothing_else() -> None:
    assert list(undocumented(ROOT)) == []
    assert list(stale(ROOT)) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('def f(a, b, c):\n    """Sum of a, b and nothing."""', ["sharpen/m.py:1: f: c"]),
        ('def f(a, b, c):\n    """Sum.\n\n    Args:\n        a, b: two.\n        c: one.\n    """', []),
        ('def f(a, b, c):\n    """Sum; arguments as for `g`."""', []),
        ("def f(a, b): ...\ndef _f(a, b, c): ...", []),
        ('class A:\n    """Of a\'s rows."""\n    def __init__(self, a, rows, c): ...', ["sharpen/m.py:3: __init__: c"]),
    ],
)
def test_what_counts(tmp_path: Path, source: str, found: list[str]) -> None:
    (tmp_path / "sharpen").mkdir()
    (tmp_path / "sharpen" / "m.py").write_text(source)
    assert list(undocumented(tmp_path)) == found
