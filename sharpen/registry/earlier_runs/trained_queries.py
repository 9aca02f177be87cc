"""Keys of the queries that champions, and versions that wait, were trained on: a small file a version, so that test
leaves them out.

``<root>/models/<name>/trained_queries/v0001.u64`` holds the keys of that version's training queries and of all versions
before it. With more data a query may move from train to test; the champion has seen it there, and so has a candidate
that starts from the champion.
"""

from __future__ import annotations

from sharpen.data import query_keys
from sharpen.registry.versions import checked_name
from sharpen.store import storage


def keep(root: str, name: str, version: str, evaluation: str) -> None:
    """Write the file of a version that is about to become the champion or waits for it; one that is there stays.

    Args:
        root, name, version: which.
        evaluation: address of its evaluation, which knows the training queries of its data.
    """
    own = query_keys.read(storage.join(evaluation, query_keys.TRAINED))
    before = query_keys.read(newest(root, name))
    try:
        storage.write_bytes(_file(root, name, version), query_keys.union_as_bytes(own, before), if_absent=True)
    except storage.PreconditionFailed:
        return


def newest(root: str, name: str) -> str:
    """Address of the file of the newest version, which holds the keys of all; empty when there is none."""
    names = [file.name for file in storage.list_files(storage.join(root, "models", checked_name(name), _FOLDER))]
    newest = max((name for name in names if name.endswith(".u64")), key=lambda name: (len(name), name), default="")
    return storage.join(root, "models", name, _FOLDER, newest) if newest else ""


_FOLDER = "trained_queries"


def _file(root: str, name: str, version: str) -> str:
    return storage.join(root, "models", checked_name(name), _FOLDER, f"{version}.u64")
