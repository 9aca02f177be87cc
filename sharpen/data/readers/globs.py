"""Addresses with wildcards: the files that they mean, here and in an object store."""

from __future__ import annotations

import glob
import re
from dataclasses import replace
from pathlib import Path

from sharpen.errors import InputError
from sharpen.store import storage
from sharpen.uri import StoredFile, join, local_path, scheme_of

WILDCARD = re.compile(r"[*?\[]")
# what follows a question mark in a remote address are options
_REMOTE_WILDCARD = re.compile(r"[*\[]")


def is_glob(address: str) -> bool:
    """Whether an address has wildcards and is not the literal name of something that is there."""
    if storage.is_remote(address):
        return bool(_REMOTE_WILDCARD.search(address.partition("?")[0]))
    if scheme_of(address) or not WILDCARD.search(address):
        return False
    try:
        return not local_path(address).exists()
    except OSError:  # longer than a name can be
        return False


def expand(address: str) -> list[str]:
    """The addresses of the files that an address with wildcards means, sorted; any other address is returned alone.

    ``*`` stands for any characters of one part of the path, ``**`` for any number of folders, ``[...]`` for one of
    these characters, and on this machine ``?`` for one character.

    Raises:
        InputError: nothing matches.
    """
    if not is_glob(address):
        return [address]
    if storage.is_remote(address):
        return [file.uri for file in remote_files(address)]
    found = sorted(glob.glob(str(local_path(address)), recursive=True))  # noqa: PTH207
    if files := [path for path in found if Path(path).is_file()]:
        return files
    raise InputError(f"{address}: no file matches")


def remote_files(address: str) -> list[StoredFile]:
    """The files of an object store that an address with wildcards means, sorted, with names below the folder before
    the first wildcard. Raises InputError when nothing matches.
    """
    location, mark, options = address.partition("?")
    first = _REMOTE_WILDCARD.search(location)
    assert first is not None
    folder = location[: first.start()].rpartition("/")[0]
    pattern = re.compile(_translated(location[len(folder) + 1 :]))
    files = [file for file in storage.list_files(f"{folder}/{mark}{options}") if pattern.fullmatch(file.name)]
    if not files:
        raise InputError(f"{address}: no file of the object store matches")
    files = [replace(file, uri=join(f"{folder}{mark}{options}", file.name)) for file in files]
    return sorted(files, key=lambda file: file.name)


def _translated(pattern: str) -> str:
    """A regular expression for the names that a pattern matches."""
    made, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            made, at = made + "(?:.*/)?", at + 3
        elif pattern.startswith("**", at):
            made, at = made + ".*", at + 2
        elif pattern[at] == "*":
            made, at = made + "[^/]*", at + 1
        elif pattern[at] == "[" and (end := pattern.find("]", at + 2)) > 0:
            inside = pattern[at + 1 : end].replace("\\", "\\\\")
            inside = f"^{inside[1:]}" if inside.startswith("!") else inside
            made, at = f"{made}[{inside}]", end + 1
        else:
            made, at = made + re.escape(pattern[at]), at + 1
    return made
