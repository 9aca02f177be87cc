"""What one process of a machine prepares for all of them, in the user's cache, under names made from content."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from sharpen.errors import StepFailed
from sharpen.store.download_cache import get_or_create


def prepare(identity: dict[str, Any], write: Callable[[Path], None]) -> str:
    """Have what `write` makes in the cache; its key there."""
    key = json.dumps(identity, sort_keys=True)
    get_or_create(key, write)
    return key


def prepared_folder(key: str) -> Path:
    """The folder of what was kept."""

    def gone(folder: Path) -> NoReturn:
        raise StepFailed("the prepared data are not in the cache of this machine any more; start again")

    return get_or_create(key, gone)
