"""The files behind a ``python-source:`` address."""

from __future__ import annotations

import importlib.util
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from sharpen.errors import InputError
from sharpen.store import storage

PREFIX = "python-source:"

# Tests describe what they test, not what they do; the rest is not the project's own code, or no code at all.
LEFT_OUT = frozenset(
    "__pycache__ build dist dist-packages env idlelib lib-dynload node_modules site-packages test tests "
    "turtledemo venv _bundled _vendor".split()
)


def is_python_source(address: str) -> bool:
    """Whether an address names Python code."""
    return address.startswith(PREFIX)


def source_name(address: str) -> str:
    """Name of the source: ``python-stdlib``, or the name of the package or folder."""
    target = address.removeprefix(PREFIX).strip().rstrip("/")
    return "python-stdlib" if target == "stdlib" else Path(target).expanduser().resolve().name if target else ""


def python_files(address: str) -> dict[str, Path]:
    """All Python files behind an address: name below the root -> path, sorted, without tests, bundled and built code.

    Raises:
        InputError: no such package or folder, or no Python file in it.
    """
    target = address.removeprefix(PREFIX).strip()
    if not target:
        raise InputError(f"{address}: name stdlib, an installed package or a folder after {PREFIX}")
    if target == "stdlib":
        roots = [Path(sysconfig.get_paths()["stdlib"])]
    elif storage.is_remote(target) or target.startswith(("/", ".", "~")) or Path(target).is_dir():
        roots = [_folder(address, target)]
    else:
        roots = _package(address, target)
    found: dict[str, Path] = {}
    for root in roots:
        for name, path in _below(root):
            # a package in several folders may have a name twice
            found[str(path) if name in found else name] = path
    if not found:
        raise InputError(f"{address}: no Python file there (folders named {', '.join(sorted(LEFT_OUT))} are left out)")
    return dict(sorted(found.items()))


def _folder(address: str, target: str) -> Path:
    if storage.is_remote(target):
        return storage.localize(target)
    folder = Path(target).expanduser()
    if not folder.is_dir():
        raise InputError(f"{address}: no such folder")
    return folder


def _package(address: str, target: str) -> list[Path]:
    top, *inner = target.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise InputError(
            f"{address}: no package {top!r} is installed here; give the name that import uses, or a folder"
        )
    if spec.submodule_search_locations:
        roots = [Path(folder, *inner) for folder in spec.submodule_search_locations]
    else:
        roots = [Path(spec.origin or "")]
    roots = [root if root.exists() else root.with_suffix(".py") for root in roots]
    if not (usable := [root for root in roots if root.is_dir() or (root.suffix == ".py" and root.is_file())]):
        raise InputError(f"{address}: {target!r} has no Python source here")
    return usable


def _below(root: Path) -> Iterator[tuple[str, Path]]:
    if root.is_file():
        yield root.name, root
        return
    for folder, inside, names in os.walk(root):
        inside[:] = [name for name in inside if name not in LEFT_OUT and not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            if name.endswith(".py") and path.is_file():
                yield path.relative_to(root).as_posix(), path
