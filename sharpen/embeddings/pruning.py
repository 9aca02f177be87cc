"""Keeping the local vector cache below a size: the encoders that were not used for longest go, whole."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from sharpen.embeddings.cache_metadata import DESCRIPTION
from sharpen.embeddings.shards import ABANDONED_SECONDS
from sharpen.store import local_store

logger = logging.getLogger(__name__)

# What was used a moment ago may be in use.
IN_USE_SECONDS = 3600


def prune(root: Path, limit: int) -> None:
    """Remove folders of encoders, oldest use first, until all together take at most `limit` bytes.

    What was used within the last hour stays, whatever it takes.

    Args:
        root: the folder that holds a folder of shards for each encoder and kind of text.
        limit: bytes.
    """
    now = time.time()
    folders = []
    for folder in root.iterdir():
        used, size = _last_use(folder), sum(_size(path) for path in folder.glob("*"))
        if local_store.is_internal_file(folder.name) and now - used > ABANDONED_SECONDS:
            local_store.delete(folder)
        else:
            folders.append((used, size, folder))
    total = sum(size for _, size, _ in folders)
    for used, size, folder in sorted(folders):
        if total <= limit or now - used < IN_USE_SECONDS:
            return
        # it may have come into use since it was looked at
        if _last_use(folder) > used:
            continue
        local_store.delete(folder)
        total -= size
        logger.warning(f"note: removed vectors that were not used for longest ({size / 2**30:,.1f} GiB, {folder})")


def _last_use(folder: Path) -> float:
    path = folder / DESCRIPTION
    try:
        return (path if path.exists() else folder).stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
