"""Files that only their owner can read, from their first byte on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sharpen.store import local_store


def open_private(path: Path, mode: str, **options: Any) -> Any:
    """Open a file as `open` does; made with no right for others, which one that is there loses."""
    file = open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600), **options)  # noqa: SIM115
    os.fchmod(file.fileno(), 0o600)
    return file


def write_private(path: Path, data: bytes) -> None:
    """Replace a file atomically: after a full disk or a kill the old one is there, whole, or none."""
    temporary = local_store.temp_sibling(path)
    try:
        with open_private(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
