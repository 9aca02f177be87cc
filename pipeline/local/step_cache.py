"""Whether the outputs of an earlier run's step can be used again."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

from sharpen.errors import SharpenError
from sharpen.store import storage

# the content of larger folders is checked by the step that reads them
HASHED_BYTES = 64 * 2**20


def fault(outputs: Mapping[str, Any]) -> str:
    """What is wrong with a step's outputs, in one line; empty where all its folders are whole.

    A folder is whole when it has its marker and every file that this names with the same size; a small one is also
    read, and its SHA-256 compared.

    Args:
        outputs: parameters and artifacts. A step names its folders twice: on an artifact's card, which may stand for
            several, and by their addresses.
    """
    folders = [artifact.metadata["address"] for artifact in outputs.values() if _is_card(artifact)]
    for address in outputs.values():
        inside = isinstance(address, str) and any(f"{address}/".startswith(f"{folder}/") for folder in folders)
        if inside and (wrong := _fault_of_folder(address)):
            return wrong
    return ""


def _is_card(output: Any) -> bool:
    return bool((getattr(output, "metadata", None) or {}).get("address"))


def _fault_of_folder(address: str) -> str:
    try:
        marker = storage.read_manifest(address)
        if sum(file["size"] for file in marker.files) <= HASHED_BYTES or not storage.is_remote(address):
            storage.open_artifact(address)
        if storage.is_remote(address):
            sizes = {file.name: file.size for file in storage.list_files(address)}
            for file in marker.files:
                if sizes.get(file["name"]) != file["size"]:
                    return f"{address}: {file['name']} is missing or has another size than it was written with"
    except SharpenError as error:
        return " ".join(str(error).split())
    return ""


def identity(root: str) -> str:
    """A random name that a store keeps. A wiped store gets another, so no cached step points into the void."""
    address = storage.join(root, "runs", "store.json")
    for _ in range(2):
        with contextlib.suppress(storage.NotFound, KeyError, TypeError, ValueError):
            return str(json.loads(storage.read_bytes(address))["id"])
        with contextlib.suppress(storage.PreconditionFailed):
            storage.write_json(address, {"id": uuid.uuid4().hex}, if_absent=not storage.exists(address))
    return str(storage.read_json(address)["id"])
