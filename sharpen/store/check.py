"""Does an object store do what Sharpen asks of it? Every operation is tried on files of its own, which are removed.

``python -m sharpen.store.check s3://bucket/key`` prints a line per operation: ``ok: read``, or
``fault: conditional write: what is wrong``. Exit code 0 when all work, else 2.
"""

from __future__ import annotations

import logging
import secrets
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sharpen.console import TO_STDERR, enable_logging
from sharpen.errors import InputError, SharpenError
from sharpen.store import object_store, storage
from sharpen.uri import CredentialsError, PreconditionFailed, Unreachable, join, parse_remote

logger = logging.getLogger(__name__)


class Trial(NamedTuple):
    """An operation and what is wrong with it; empty when it works."""

    operation: str
    fault: str


def try_store(uri: str) -> list[Trial]:
    """Try reading, writing, conditional writing, writing in parts and deleting below an address.

    The first operation that everything depends on ends the trial when it fails.

    Raises:
        Unreachable, CredentialsError: nothing can be said of the store from here.
        InputError: the address is not one of an object store.
    """
    parse_remote(uri)
    folder = join(uri, f".store-check-{secrets.token_hex(8)}")
    trials = [_tried("read", partial(storage.check_access, uri))]
    if trials[0].fault:
        return trials
    try:
        trials.append(_tried("write", partial(_write, folder)))
        if not trials[-1].fault:
            trials.append(_tried("conditional write", partial(_write_on_condition, folder)))
            trials.append(_tried("write in parts", partial(_write_in_parts, folder)))
    finally:
        trials.append(_tried("delete", partial(_delete, folder)))
    return trials


def _tried(operation: str, act: Callable[[], None]) -> Trial:
    try:
        act()
    except (Unreachable, CredentialsError):
        raise
    except PreconditionFailed as error:
        return Trial(operation, f"{error}, although nobody did")
    except SharpenError as error:
        return Trial(operation, str(error))
    return Trial(operation, "")


def _write(folder: str) -> None:
    address, data = join(folder, "plain"), secrets.token_bytes(64)
    storage.write_bytes(address, data)
    if storage.read_bytes(address) != data:
        raise InputError(f"{address}: the store returned other data than it was given")


def _write_on_condition(folder: str) -> None:
    """The champion's pointer changes hands by these writes: of two runs that promote at once, one must lose."""
    address = join(folder, "conditional")
    etag = storage.write_bytes(address, b"first", if_absent=True)
    for condition, refused in (
        ("If-None-Match", partial(storage.write_bytes, address, b"second", if_absent=True)),
        ("If-Match", partial(storage.write_bytes, address, b"second", if_match="0" * 32)),
    ):
        try:
            refused()
        except PreconditionFailed:
            continue
        raise InputError(
            f"the store ignores {condition}, so two runs that promote at once could overwrite each other; use a store "
            "with conditional writes (Amazon S3, SeaweedFS, MinIO of 2024-11 or newer)"
        )
    storage.write_bytes(address, b"second", if_match=etag)


def _write_in_parts(folder: str) -> None:
    size = object_store.PART_BYTES + 1
    address = join(folder, "parts")
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(size)
        object_store.upload(parse_remote(address), Path(file.name))
    stored = {found.name: found.size for found in storage.list_files(folder)}.get("parts")
    if stored != size:
        raise InputError(f"{address}: {size} bytes were written in parts, the store has {stored}")


def _delete(folder: str) -> None:
    storage.delete(folder)
    if left := storage.list_files(folder):
        raise InputError(f"{folder}: {len(left)} files of the trial are still there; delete them by hand")


def main(arguments: list[str]) -> int:
    """Try the store and print a line per operation; the exit code."""
    enable_logging()
    if len(arguments) != 1:
        logger.warning("usage: python -m sharpen.store.check s3://bucket/key", extra=TO_STDERR)
        return 2
    try:
        trials = try_store(arguments[0])
    except InputError as error:
        trials = [Trial("read", str(error))]
    for operation, fault in trials:
        logger.info(f"fault: {operation}: {fault}" if fault else f"ok: {operation}")
    return 2 if any(trial.fault for trial in trials) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
