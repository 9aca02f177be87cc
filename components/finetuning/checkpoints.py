"""Checkpoints in a local folder: named by content, marked complete last, removed when the model is written."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from components.core.download_cache import cache_folder

COMPLETE = "complete"


def folder_for(chosen: str | None, facts: dict[str, Any]) -> Path:
    """Where a run keeps its checkpoints.

    The name is a hash of all that decides the result, so a run goes on only with its own checkpoints: another setting,
    other data, another base model or other code begin anew.

    Args:
        chosen: the folder of the settings; None: the user's cache.
        facts: data, model, settings, code version, output; anything that JSON can hold.
    """
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return (Path(chosen) if chosen else cache_folder() / "checkpoints") / name


def mark_complete(folder: Path, step: int) -> None:
    """Say that every process has written its part of the checkpoint of this step."""
    (folder / f"{PREFIX_CHECKPOINT_DIR}-{step}" / COMPLETE).touch()


def newest_complete(folder: Path) -> Path | None:
    """The checkpoint with the most steps that was marked complete."""
    found = {_step(path): path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if (path / COMPLETE).is_file()}
    return found[max(found)] if found else None


def remove_incomplete(folder: Path) -> None:
    """Delete what a process that died had begun to write."""
    for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        if not (path / COMPLETE).is_file():
            shutil.rmtree(path)


def remove(folder: Path) -> None:
    """Delete a run's checkpoints: the model is written."""
    shutil.rmtree(folder, ignore_errors=True)


def _step(path: Path) -> int:
    return int(path.name.rsplit("-", 1)[1])
