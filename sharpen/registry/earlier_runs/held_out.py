"""Which queries have been dev or test in the runs of a model, so that they stay there.

``<root>/models/<name>/held_out/000001.json`` holds the keys of the first finished run, each later file those of another
run and of all before it. Files are written once and never changed, so that the address says what is in one.
"""

from __future__ import annotations

from sharpen.data import query_keys
from sharpen.errors import StepFailed
from sharpen.registry.versions import checked_name
from sharpen.store import storage

_TRIES = 20


def keep(root: str, name: str, address: str) -> None:
    """Add what a finished run held out; where all of it is known, nothing is written.

    A query that was dev in one run and test in another is test.

    Args:
        root, name: of the registry and of the model.
        address: of the run's keys (`query_keys.read_held_out`); empty: nothing is added.

    Raises:
        StepFailed: other runs add to it all the time.
    """
    added = {split: set(keys) for split, keys in query_keys.read_held_out(address).items()}
    for _ in range(_TRIES):
        last = newest(root, name)
        before = {split: set(keys) for split, keys in query_keys.read_held_out(last).items()}
        test = before.get("test", set()) | added.get("test", set())
        after = {"test": test, "dev": (before.get("dev", set()) | added.get("dev", set())) - test}
        if not any(after.values()) or after == before:
            return
        number = int(last.partition("?")[0].rpartition("/")[2].removesuffix(".json")) + 1 if last else 1
        try:
            file = storage.join(_folder(root, name), f"{number:06d}.json")
            storage.write_bytes(file, query_keys.held_out_as_bytes(after), if_absent=True)
            return
        except storage.PreconditionFailed:
            continue
    raise StepFailed(f"{name}: other runs add to {_folder(root, name)} all the time; run one at a time")


def newest(root: str, name: str) -> str:
    """Address of the file that holds the keys of all finished runs; empty where there is none."""
    names = [file.name for file in storage.list_files(_folder(root, name)) if file.name.endswith(".json")]
    return storage.join(_folder(root, name), max(names)) if names else ""


def _folder(root: str, name: str) -> str:
    return storage.join(root, "models", checked_name(name), "held_out")
