"""Every file below an address with its size and age, by one listing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from sharpen.store import local_store, object_store
from sharpen.uri import is_remote, local_path, parse_remote


@dataclass(frozen=True)
class AgedFile:
    """A file: its name relative to the listed address, bytes, and seconds since it was written."""

    name: str
    size: int
    age: float


def aged_files(address: str) -> Iterator[AgedFile]:
    """The files below an address, at any depth; none where there is no such folder.

    The age is by the clock of the store, on a disk by that of this machine.

    Raises:
        InputError, StepFailed: the store cannot be read.
    """
    if is_remote(address):
        remote = parse_remote(address)
        for page in object_store.pages(remote):
            for item in page["Contents"]:
                name = item["Key"].removeprefix(remote.prefix)
                if name and not name.endswith("/"):
                    yield AgedFile(name, item["Size"], item["Age"])
        return
    folder, now = local_path(address), time.time()
    with local_store.translate_os_errors(folder):
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            parts = path.relative_to(folder).parts
            if path.is_file() and not any(local_store.is_internal_file(part) for part in parts):
                stat = path.stat()
                yield AgedFile("/".join(parts), stat.st_size, now - stat.st_mtime)
