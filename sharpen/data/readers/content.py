"""What stands behind the address of an input, as a value that is equal for equal content."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sharpen.data.readers.data_format import InputFile, last_part
from sharpen.data.readers.detect import detect_inputs, format_of_file, format_of_folder, input_name, refuse_empty
from sharpen.data.readers.globs import expand, is_glob, remote_files
from sharpen.data.source_settings import HUB_SCHEMES, SourceSettings
from sharpen.errors import InputError
from sharpen.store import object_store, storage
from sharpen.store.local_store import sha256_of
from sharpen.typed_json import sha256_json
from sharpen.uri import parse_remote


def content_of(source: str | SourceSettings) -> list[object]:
    """Name, content and settings of a source, as a value that JSON can hold.

    Remote files count by name, size and ETag, and are not downloaded; finished folders by what their manifest says.

    Args:
        source: its address, or its address with settings.

    Raises:
        InputError: nothing there that can be read, or an empty file.
    """
    if isinstance(source, str) or source.is_plain:
        return _content_of_address(source if isinstance(source, str) else source.address)
    settings = source.settings()
    pool = [content_of_files(source.corpus)] if settings.pop("corpus", "") else []
    return [_content_of_address(source.address), settings, *pool]


def _content_of_address(address: str) -> list[object]:
    if address.startswith(HUB_SCHEMES):
        return [_content_of_input(item) for item in detect_inputs(address)]
    if is_glob(address) and storage.is_remote(address):
        files = remote_files(address)
        refuse_empty(file.uri for file in files if not file.size)
        return [digest_rows((file.name, file.size, file.etag) for file in files)]
    if storage.is_complete(address):
        return [input_name(address), digest_rows(manifest_rows(address))]
    if storage.is_remote(address):
        return [input_name(address), digest_rows(_remote_files(address))]
    return [_content_of_input(item) for item in detect_inputs(address)]


def content_of_files(address: str) -> list[object]:
    """Content of a file, or of the files of a folder or of a data set of the hub, of any kind.

    Raises:
        InputError: nothing there.
    """
    if address.startswith(HUB_SCHEMES):
        return _content_of_address(address)
    if storage.is_remote(address):
        single = None if is_glob(address) else object_store.head(parse_remote(address))
        files = remote_files(address) if is_glob(address) else [single] if single else storage.list_files(address)
        if not files:
            raise InputError(f"{address}: no such file or folder in the object store")
        return [digest_rows((file.name, file.size, file.etag) for file in files)]
    paths = [path for one in expand(address) for path in _files_at(storage.localize(one))]
    return [digest_rows((file.name, sha256_of(file)) for file in paths)]


def _files_at(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def content_hash(item: InputFile) -> str:
    """SHA-256 (hex) of one input's content."""
    if not item.address.startswith(HUB_SCHEMES) and storage.is_complete(item.address):
        return digest_rows(manifest_rows(item.address))
    return sha256_json(_content_of_input(item))


def _content_of_input(item: InputFile) -> list[object]:
    return [
        item.name,
        item.version,
        digest_rows((last_part(name) if item.settings else name, sha256_of(path)) for name, path in item.files.items()),
    ]


def _remote_files(address: str) -> list[tuple[str, int, str]]:
    """Name, size and ETag of the files that would be read. Raises InputError as `detect_inputs`."""
    remote = parse_remote(address)
    single = None if address.partition("?")[0].endswith("/") else object_store.head(remote)
    if single:
        format_of_file(address, single.name)
        files, names = [single], [single.name]
    else:
        files = storage.list_files(address)
        if not files:
            raise InputError(f"{address}: no such file or folder in the object store")
        names = format_of_folder(address, [file.name for file in files])[1]
    found = [(file.name, file.size, file.etag) for file in files if file.name in set(names)]
    refuse_empty(address if single else storage.join(address, name) for name, size, _ in found if not size)
    return found


def manifest_rows(address: str) -> list[tuple[str, str]]:
    """Name and SHA-256 of the files of a finished folder."""
    return [(file["name"], file["sha256"]) for file in storage.read_manifest(address).files]


def digest_rows(rows: Iterable[tuple]) -> str:
    """SHA-256 (hex) of rows in sorted order."""
    return sha256_json(sorted(rows))
