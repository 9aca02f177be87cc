"""Which code produced a result."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

_SOURCES = Path(__file__).parents[1]
# what results come from; the graph's own code only passes them on
_PACKAGES = ("sharpen", "components")


@cache
def code_version(*modules: str) -> str:
    """Version of the package and a hash of its sources: changes whenever a result could change.

    Args:
        modules: count only these, such as ``sharpen.training.train``, and what `source_files` says they import, so that
            another step's code can change without making this one's checkpoints and caches useless. None: all.
    """
    digest = hashlib.sha256()
    paths = source_files(*modules) if modules else [p for name in _PACKAGES for p in (_SOURCES / name).rglob("*.py")]
    for path in sorted(paths):
        digest.update(str(path.relative_to(_SOURCES)).encode())
        digest.update(path.read_bytes())
    return f"{metadata.version('sharpen')}+{digest.hexdigest()[:12]}"


def source_files(*modules: str, root: Path = _SOURCES) -> set[Path]:
    """The files of modules and of all of their package that they import, wherever in the file that is.

    A component imports more of the library than its result depends on (the pages that it shows, the registry), so that
    what counts of the library has to be named.

    Args:
        modules: full names.
        root: folder that the packages are in.
    """
    files: set[Path] = set()
    waiting, seen = list(modules), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        package, *inside = name.split(".")
        path = root.joinpath(package, *inside)
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if path.is_file():
            files.add(path)
            # the package itself imports on demand
            waiting += _imports(path, package) if inside else ()
        if inside:
            # importing a module runs the packages that it is in
            waiting.append(".".join([package, *inside[:-1]]))
    return files


@cache
def _imports(path: Path, package: str) -> list[str]:
    """Names of what a file imports from a package: modules, and things in them."""
    names: list[str] = []
    for node in _statements(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom):
            names += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return [name for name in names if name.split(".")[0] == package]


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """The statements in a tree, however deep; expressions, which are most of it, import nothing."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for field in ("body", "orelse", "handlers", "finalbody", "cases"):
            waiting += getattr(node, field, [])
