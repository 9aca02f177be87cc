"""The files of a folder or of an address with wildcards that can hold rows of a window, before any is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sharpen.data.readers.detect import format_of_folder
from sharpen.data.readers.formats import FORMATS
from sharpen.data.readers.globs import WILDCARD, expand, is_glob, remote_files
from sharpen.data.source_settings import HUB_SCHEMES
from sharpen.data.window import Window, end_of_period
from sharpen.store import object_store, storage
from sharpen.uri import local_path, parse_remote, scheme_of


@dataclass(frozen=True)
class WindowFiles:
    """The files of an input, by whether they can hold rows of a window.

    Attributes:
        inside: addresses of those that can.
        older: addresses of the others.
        by_path, by_modification: files that the date in their path decided about, and when they were last written.
    """

    inside: list[str]
    older: list[str]
    by_path: int
    by_modification: int

    @property
    def counts(self) -> dict[str, int]:
        """The figures for `stats.json`."""
        files = len(self.inside) + len(self.older)
        return {
            "files": files,
            "older": len(self.older),
            "by_path": self.by_path,
            "by_modification": self.by_modification,
        }


def files_in_window(address: str, window: Window) -> WindowFiles | None:
    """Which files of an input are read: by the date in their path, else, in a store, by when they were last written.

    A file of which neither is known is read, and its rows are judged by their times.

    Args:
        address: of a folder of rows, or with wildcards.
        window: which rows are wanted.

    Returns:
        The files; None for an input that is read whole, such as a single file or a BEIR folder.

    Raises:
        InputError: nothing matches.
    """
    files = _files(address)
    if files is None:
        return None
    inside, older, by_path, by_modification = [], [], 0, 0
    for uri, name, modified in files:
        end = end_of_period(name)
        by_path += end is not None
        by_modification += end is None and modified is not None
        before = end <= window.start if end else modified is not None and modified < window.start
        (older if before else inside).append(uri)
    return WindowFiles(inside, older, by_path, by_modification)


def _files(address: str) -> list[tuple[str, str, datetime | None]] | None:
    """Address, name below the folder or the first wildcard, and time of the last writing of each file."""
    if is_glob(address):
        if storage.is_remote(address):
            return [(file.uri, file.name, file.modified) for file in remote_files(address)]
        first = WILDCARD.search(address)
        folder = local_path(address[: first.start()].rpartition("/")[0] or ".") if first else Path()
        return [(path, Path(path).relative_to(folder).as_posix(), None) for path in expand(address)]
    if address.startswith(HUB_SCHEMES) or any(known.find(address) for known in FORMATS):
        return None
    if storage.is_remote(address):
        if not address.partition("?")[0].endswith("/") and object_store.head(parse_remote(address)):
            return None
        listed = {file.name: file.modified for file in storage.list_files(address)}
    else:
        path = local_path(address)
        if scheme_of(address) or not path.is_dir():
            return None
        listed = dict.fromkeys(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    chosen, names = format_of_folder(address, listed)
    if not chosen.suffixes:
        return None
    return [(storage.join(address, name), name, listed[name]) for name in names]
