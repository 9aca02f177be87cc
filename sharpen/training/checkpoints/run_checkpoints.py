"""The checkpoints of a run by its settings: where they are, and what another run must share to go on from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sharpen.store import storage
from sharpen.training.checkpoints import checkpoints
from sharpen.training.checkpoints.checkpoints import Checkpoints
from sharpen.training.optimization.loop_settings import LoopSettings
from sharpen.version import code_version

# Settings that change what is seen of a training, or what memory it takes, but not its result.
_WITHOUT_EFFECT = {
    *("logging_steps", "save_steps", "save_total_limit", "checkpoint_folder", "checkpoint_address"),
    *("report_to", "logging_dir", "dev_scores_address", "fsdp"),
}


def check_address(settings: LoopSettings) -> None:
    """Raise InputError when the address that the settings name for copies cannot be written."""
    if settings.checkpoint_address not in ("", checkpoints.AUTO):
        storage.check_access(settings.checkpoint_address, write=True)


def checkpoints_for(
    identity: Mapping[str, Any], settings: LoopSettings, output: str, producer: str, package: str
) -> Checkpoints:
    """The checkpoints of a run; only one of equal identity and code finds them.

    Args:
        identity: data and model, and under ``settings`` all that were given.
        settings: of the run.
        output: address of the model.
        producer: the step.
        package: whose code decides the result, with all that it imports.
    """
    decisive = {name: value for name, value in identity["settings"].items() if name not in _WITHOUT_EFFECT}
    arguments = decisive["training_arguments"].items()
    decisive["training_arguments"] = {name: value for name, value in arguments if not name.startswith("dataloader_")}
    facts = {**identity, "settings": decisive, "code": code_version(package)}
    folder = checkpoints.folder_for(settings.checkpoint_folder, facts, output)
    address = checkpoints.address_for(settings.checkpoint_address, facts, output)
    return Checkpoints(folder, address, settings.save_total_limit, producer)
