"""What stands behind the address of an input, as a value that is equal for equal content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from sharpen.data.preparation.python_files import is_python_source, python_files, source_name
from sharpen.data.preparation.python_source import python_version
from sharpen.data.readers import detect_inputs, input_name, kind_of
from sharpen.data.readers.detect import EXPECTED, is_rows
from sharpen.errors import InputError
from sharpen.store import object_store, storage
from sharpen.uri import parse_remote


def sha256_json(value: object) -> str:
    """SHA-256 (hex) of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def content_of(address: str) -> list[object]:
    """Name and content of one input, as a value that JSON can hold. Raises InputError as `fingerprint`."""
    if is_python_source(address):
        hashed = [(file.name, sha256_of(file.path)) for file in python_files(address)]
        return [source_name(address), python_version(), digest_rows(hashed)]
    if storage.is_complete(address):
        return finished_content(address)
    if storage.is_remote(address):
        return [input_name(address), digest_rows(_remote_files(address))]
    places = detect_inputs(address)
    return [
        [input_name(place.address), digest_rows((name, sha256_of(place.folder / name)) for name in place.names)]
        for place in places
    ]


def content_hash(address: str) -> str:
    """SHA-256 (hex) of one input's content; errors as `fingerprint`."""
    return sha256_json(content_of(address))


def _remote_files(address: str) -> list[tuple[str, int, str]]:
    """Name, size and ETag of the files that would be read. Raises InputError as `detect_inputs`."""
    remote = parse_remote(address)
    single = None if address.partition("?")[0].endswith("/") else object_store.head(remote)
    if single:
        files, names = [single], [single.name]
        if not is_rows(single.name):
            raise InputError(f"{address}: not a file that can be read; {EXPECTED}")
    else:
        files = storage.list_files(address)
        if not files:
            raise InputError(f"{address}: no such file or folder in the object store")
        names = kind_of(address, [file.name for file in files])[1]
    found = [(file.name, file.size, file.etag) for file in files if file.name in set(names)]
    if empty := [name for name, size, _ in found if not size]:
        raise InputError([f"{address}: {name} is empty; fill it or leave it out" for name in empty])
    return found


def finished_content(address: str) -> list[object]:
    files = storage.read_manifest(address).files
    return [input_name(address), digest_rows((file["name"], file["sha256"]) for file in files)]


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_rows(rows: Iterable[tuple]) -> str:
    return sha256_json(sorted(rows))
