"""A tuned model that is passed on as it is, where nobody asked for merging and models or data do not allow it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sharpen.merging.settings import MergingSettings
from sharpen.merging.sources import Source
from sharpen.models import model_hub
from sharpen.store import storage


def facts_of(tuned: Source, settings: MergingSettings, faults: Sequence[str]) -> dict[str, Any]:
    """What merging.json says of a model that is not merged.

    Args:
        tuned: the model.
        settings: how it was to be merged.
        faults: why it is not, a line each.
    """
    return {
        "merged": False,
        "method": settings.method,
        "settings": settings.model_dump(mode="json"),
        "models": [tuned.facts("tuned") | {"coefficient": 1.0}],
        "usages": {tuned.address: tuned.usage},
        "notes": [],
        "searched": [],
        "weight": 1.0,
        "reason": f"the tuned model as it is, not merged: {'; '.join(faults)}",
    }


def copy(tuned: Source, folder: Path, left_out: set[str]) -> None:
    """Copy the files of a model to the byte.

    Args:
        tuned: the model.
        folder: where to.
        left_out: names of files that are not copied, besides the marker of a finished folder.
    """
    for name, path in model_hub.files_of(tuned.folder).items():
        if name not in {*left_out, storage.MARKER}:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
