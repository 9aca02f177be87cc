"""Trackers of transformers that a training reports to: whether they are there, and where their local logs are kept.

A tracker that writes files puts them next to the checkpoints unless another folder is set, and checkpoints are
deleted when the model is written.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    TensorBoardCallback,
    default_logdir,
)
from transformers.trainer_callback import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from sharpen.store import storage
from sharpen.store.download_cache import cache_folder
from sharpen.training.optimization.loop_settings import WRITE_FILES, LoopSettings
from sharpen.uri import sibling

_FOR_TENSORBOARD = "TENSORBOARD_LOGGING_DIR"


def faults(settings: LoopSettings) -> list[str]:
    """One line for each tracker that transformers does not know or that is not installed."""
    if settings.report_to in (["all"], ["none"]):
        return []
    return [fault for name in settings.report_to if (fault := _fault(name))]


def _fault(name: str) -> str:
    kind = INTEGRATION_TO_CALLBACK.get(name)
    if kind is None:
        return f"report_to: transformers has no tracker {name}; there are {', '.join(sorted(INTEGRATION_TO_CALLBACK))}"
    try:
        kind()
    except (ImportError, RuntimeError) as error:
        return f"report_to: {name} cannot be used here: {' '.join(str(error).split())}"
    return ""


def log_folder(settings: LoopSettings, output: str, name: str) -> Path | None:
    """Where trackers that write files keep them; None: there is no such tracker.

    Args:
        settings: `report_to`, and `logging_dir` if it is set.
        output: address of the model; next to one in a local folder is the default.
        name: of the run, for a folder in the user's cache when the output is in an object store.
    """
    if not WRITE_FILES & {*settings.report_to}:
        return None
    if settings.logging_dir:
        return Path(settings.logging_dir).expanduser()
    if given := os.environ.get(_FOR_TENSORBOARD):
        return Path(given).expanduser()
    if storage.is_remote(output):
        return cache_folder() / "logs" / name
    return Path(sibling(output, "logs"))


def direct(callbacks: list[TrainerCallback], folder: Path) -> None:
    """Let trackers that have a setting for it write below a folder, each start of a training into one of its own."""
    for callback in callbacks:
        if isinstance(callback, TensorBoardCallback):
            callback.logging_dir = str(folder / Path(default_logdir()).name)


def keep_files(checkpoints: Path, folder: Path | None) -> None:
    """Bring what the other trackers wrote next to the checkpoints into a folder, before the checkpoints are deleted.

    Args:
        checkpoints: folder of a run's.
        folder: as `log_folder` says.
    """
    if folder is None:
        return
    for path in checkpoints.iterdir():
        if not path.name.startswith((PREFIX_CHECKPOINT_DIR, ".")):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.move(path, folder / path.name)
