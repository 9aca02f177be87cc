"""The folder of a local run: its log, its report, KFP's small files; only its owner can read it.

A run holds a lock on its folder, which the kernel frees when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.store.supervisor import try_lock
from sharpen.store import local_store

KEPT = 20
_LOCK = "lock"
_TEMPORARY = "temporary"
_PREFIX = "sharpen-run-"


@contextlib.contextmanager
def run_folder(runs: Path, name: str) -> Iterator[Path]:
    """A new folder below `runs`; the oldest of those whose runs have ended are removed.

    Raises:
        InputError: it cannot be made.
    """
    folder = runs / name
    with local_store.translate_os_errors(runs):
        folder.mkdir(parents=True, mode=0o700)
    with local_store.locked(folder / _LOCK):
        ended = _ended(runs)
        for other in ended:
            _remove_temporary(other)
        for old in sorted(ended, key=lambda path: path.stat().st_mtime)[: 1 - KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        try:
            yield folder
        finally:
            _remove_temporary(folder)


def temporary_folder(folder: Path) -> Path:
    """A folder in the system's temporary folder that is removed when the run ends; by the next run if it was killed."""
    made = Path(tempfile.mkdtemp(prefix=_PREFIX))
    (folder / _TEMPORARY).symlink_to(made)
    return made


def _ended(runs: Path) -> list[Path]:
    """Folders of runs that no longer run."""
    ended = []
    for path in runs.iterdir():
        with contextlib.suppress(OSError):
            if path.is_dir() and (held := try_lock(path / _LOCK)) is not None:
                os.close(held)
                ended.append(path)
    return ended


def _remove_temporary(folder: Path) -> None:
    link = folder / _TEMPORARY
    if not link.is_symlink():
        return
    target = link.readlink()
    if target.name.startswith(_PREFIX) and not target.is_symlink():
        shutil.rmtree(target, ignore_errors=True)
    link.unlink(missing_ok=True)
