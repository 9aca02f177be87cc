"""A local folder that is replaced as a whole, and what others put into it, which stays."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sharpen.store import local_store

# a larger file is taken for unchanged when it is older than the marker
_HASHED_BYTES = 64 * 2**20
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def foreign_files(folder: Path, files: Sequence[dict[str, Any]], marker: Path) -> list[str]:
    """Names of the files in a folder that are not, or not any more, those that Sharpen wrote there; sorted.

    Args:
        folder: the folder.
        files: ``{"name", "size", "sha256"}`` of each file that was written.
        marker: the file that says so, written after all of them; it is not foreign. It may be missing.
    """
    written = {file["name"]: file for file in files}
    since = marker.stat().st_mtime_ns if marker.is_file() else 0
    return sorted(
        name
        for path, name in _files(folder)
        if path != marker and not (name in written and _is_unchanged(path, written[name], since))
    )


def replace_folder(target: Path, fresh: Path, foreign: Sequence[str]) -> list[str]:
    """Put the folder `fresh` in the place of `target`, with the target's foreign files in it.

    Whoever looks, and whatever is interrupted, the target is the old folder or the new one (on file systems that cannot
    exchange two folders, for a moment none). `fresh` is the old one after that, or gone.

    Returns:
        ``name -> new name`` as text, for foreign files where a new file has their name: they get another.
    """
    renamed = []
    # those that keep their names first, so that no other gets one of these
    for name in sorted(foreign, key=lambda name: _free_name(fresh, name) != name):
        free = _free_name(fresh, name)
        if free != name:
            renamed.append(f"{name} -> {free}")
        _link(target / name, fresh / free)
    if not target.exists():
        fresh.rename(target)
    elif not _exchanged(fresh, target):
        old = local_store.temp_sibling(target)
        target.rename(old)
        try:
            fresh.rename(target)
        except OSError:
            old.rename(target)
            raise
        old.rename(fresh)
    return renamed


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files and links below a folder, links not followed, with their names; no lock and temporary files."""
    for root, folders, names in os.walk(folder):
        for name in [*names, *(name for name in folders if (Path(root) / name).is_symlink())]:
            if not local_store.is_internal_file(name):
                path = Path(root) / name
                yield path, path.relative_to(folder).as_posix()


def _is_unchanged(path: Path, written: dict[str, Any], since: int) -> bool:
    if path.is_symlink():
        return False
    state = path.stat()
    if state.st_size != written["size"]:
        return False
    if state.st_size > _HASHED_BYTES and state.st_mtime_ns <= since:
        return True
    return local_store.sha256_of(path) == written["sha256"]


def _free_name(folder: Path, name: str) -> str:
    """The name, or one like it at the top of the folder that nothing there has."""
    in_the_way = [folder / name, *(folder / parent for parent in list(Path(name).parents)[:-1])]
    if not (in_the_way[0].exists() or any(path.is_file() for path in in_the_way)):
        return name
    base = f"{name.replace('/', '_')}.before"
    names = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
    return next(free for free in names if not (folder / free).exists())


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        # another file system, or one without hard links
        shutil.copy2(source, target, follow_symlinks=False)


def _exchanged(first: Path, second: Path) -> bool:
    """Exchange two folders in one step (Linux's renameat2); False where that cannot be done."""
    with contextlib.suppress(AttributeError, OSError):
        rename = ctypes.CDLL(None, use_errno=True).renameat2
        names = os.fsencode(first), os.fsencode(second)
        return rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0
    return False
