"""Hashes of the examples that a champion was trained on, and those before it: what else there is, is new to it.

``<root>/models/<name>/trained_examples/v0001.u64`` holds those of that version and of the champion that it replaces.
"""

from __future__ import annotations

from sharpen.data import query_keys
from sharpen.registry.versions import checked_name
from sharpen.store import storage


def keep(root: str, name: str, version: str, examples: str, champion: str) -> None:
    """Write the file of a version that is about to become the champion; one that is there stays.

    Args:
        root, name, version: which.
        examples: address of the hashes of what its run trained on; empty: nothing is written.
        champion: version that it replaces; empty for none.
    """
    if not examples:
        return
    before = query_keys.read(of_version(root, name, champion))
    keys = query_keys.union_as_bytes(query_keys.read(examples), before)
    try:
        storage.write_bytes(_file(root, name, version), keys, if_absent=True)
    except storage.PreconditionFailed:
        return


def of_version(root: str, name: str, version: str) -> str:
    """Address of the file of a version; empty where there is none, as for versions that were registered otherwise."""
    file = _file(root, name, version) if version else ""
    return file if file and storage.exists(file) else ""


def _file(root: str, name: str, version: str) -> str:
    return storage.join(root, "models", checked_name(name), "trained_examples", f"{version}.u64")
