"""Files and finished folders at an address: ``s3://bucket/key``, ``minio://bucket/key`` or a plain path.

Every step reads and writes through this module. A *finished folder* holds `_SUCCESS.json`, written last, with the size
and SHA-256 of each file; a reader refuses a folder without it, so that a retry never meets half-written input. Single
files are replaced atomically, on condition if the caller wants it (`if_match`, `if_absent`): that is how the
registry's pointer changes hands. Faults of the user (bucket, secret, endpoint, missing file, full disk) are
`InputError`s.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

from sharpen.errors import InputError, StepFailed
from sharpen.store import local_store, object_store
from sharpen.store.artifact import (
    MARKER,
    Manifest,
    copy_artifact,
    foreign_files,
    is_complete,
    open_artifact,
    publish,
    read_manifest,
)
from sharpen.store.download_cache import localize
from sharpen.uri import NotFound, PreconditionFailed, StoredFile, is_remote, join, local_path, parse_remote

__all__ = [
    "MARKER",
    "Manifest",
    "NotFound",
    "PreconditionFailed",
    "StoredFile",
    "check_access",
    "copy_artifact",
    "delete",
    "delete_unfinished",
    "exists",
    "foreign_files",
    "is_complete",
    "is_remote",
    "join",
    "list_files",
    "list_folders",
    "localize",
    "open_artifact",
    "publish",
    "read_bytes",
    "read_json",
    "read_manifest",
    "read_with_age",
    "read_with_etag",
    "write_bytes",
    "write_json",
]


def exists(uri: str) -> bool:
    """True when there is a file, or a folder with at least one file (locally: any folder), at the address."""
    if not is_remote(uri):
        with local_store.translate_os_errors(path := local_path(uri)):
            return path.exists()
    remote = parse_remote(uri)
    return object_store.head(remote) is not None or object_store.has_folder(remote)


def read_bytes(uri: str) -> bytes:
    """Content of a file. Raises NotFound (an InputError) when there is none."""
    return read_with_etag(uri)[0]


def read_with_etag(uri: str) -> tuple[bytes, str]:
    """Content and ETag of a file; the ETag is what `write_bytes` takes as `if_match`. Raises NotFound."""
    if is_remote(uri):
        return object_store.read(parse_remote(uri))
    return local_store.read(local_path(uri))


def read_with_age(uri: str) -> tuple[bytes, str, float]:
    """Content and ETag of a file, and the seconds since it was written, by the store's own clock. Raises NotFound."""
    if is_remote(uri):
        return object_store.read_with_age(parse_remote(uri))
    return local_store.read_with_age(local_path(uri))


def read_json(uri: str) -> Any:
    """The value in a JSON file. Raises NotFound, or InputError when the file is not JSON."""
    try:
        return json.loads(read_bytes(uri))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{uri}: not valid JSON ({error})") from None


def write_bytes(uri: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False) -> str:
    """Replace a file atomically.

    Args:
        uri: address of the file.
        data: its whole new content.
        if_match: write only if the file still has this ETag.
        if_absent: write only if there is no file yet.

    Returns:
        The new ETag.

    Raises:
        PreconditionFailed: the condition does not hold; nothing was written.
    """
    if is_remote(uri):
        return object_store.write(parse_remote(uri), data, if_match=if_match, if_absent=if_absent)
    return local_store.write(local_path(uri), data, if_match=if_match, if_absent=if_absent)


def write_json(uri: str, value: Any, *, if_match: str | None = None, if_absent: bool = False) -> str:
    """Replace a JSON file atomically (UTF-8, keys sorted, no NaN); conditions, result and errors of `write_bytes`."""
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False)
    return write_bytes(uri, (text + "\n").encode(), if_match=if_match, if_absent=if_absent)


def list_files(uri: str) -> list[StoredFile]:
    """Every file below a folder, at any depth, sorted by name; empty when there is none."""
    return object_store.files(parse_remote(uri)) if is_remote(uri) else local_store.files(local_path(uri))


def list_folders(uri: str) -> list[str]:
    """Names of the folders directly below a folder, sorted; empty when there is none."""
    return object_store.folders(parse_remote(uri)) if is_remote(uri) else local_store.folders(local_path(uri))


def delete(uri: str) -> None:
    """Delete a file, or a folder with all below it, its marker first. Nothing there is no fault."""
    if not is_remote(uri):
        local_store.delete(local_path(uri))
        return
    remote = parse_remote(uri)
    if not remote.key:
        raise InputError(f"{uri}: refusing to delete a whole bucket")
    below = [remote.prefix + file.name for file in object_store.files(remote)]
    if (marker := remote.prefix + MARKER) in below:
        object_store.delete_keys(remote, [marker])
    object_store.delete_keys(remote, [remote.key, *below])


def delete_unfinished(uri: str) -> None:
    """Delete what a writer that died left of a folder; a finished one stays. Nobody may be writing it."""
    if is_complete(uri):
        return
    delete(uri)
    if not is_remote(uri):
        local_store.delete_half_written(local_path(uri))
        return
    # where that is not possible, the store keeps their parts until a rule of its own deletes them
    with contextlib.suppress(InputError, StepFailed):
        for upload in object_store.unfinished_uploads(parse_remote(uri)):
            object_store.abort(parse_remote(uri), upload)


def check_access(uri: str, *, write: bool = False) -> None:
    """Fail at once, and in one line, if an address cannot be used.

    Args:
        uri: address of a file or folder; it need not exist.
        write: also store and delete a small file below the address, which a local path is made for.

    Raises:
        InputError: no such bucket, wrong secret, unknown key, no credentials, endpoint unreachable, no right, full.
    """
    if is_remote(uri):
        object_store.probe(parse_remote(uri), write=write)
    else:
        local_store.probe(local_path(uri), write=write)
