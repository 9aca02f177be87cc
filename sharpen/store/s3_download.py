"""Content that comes from an object store, compared with what the store or the caller says of it.

What is fetched is compared with the store's checksum or ETag, or with a SHA-256 that the caller knows; what arrives
damaged is fetched again, a few times.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sharpen.errors import StepFailed
from sharpen.store import checksums, local_store
from sharpen.store.retry import DAMAGED_TRIES, call
from sharpen.store.s3_client import endpoint_of
from sharpen.store.s3_errors import no_store
from sharpen.uri import DamagedTransfer, NotFound, S3Uri

logger = logging.getLogger(__name__)

T = TypeVar("T")
Done = Callable[[int], None]

PART_BYTES = 16 * 2**20
THREADS = 4
# what other programs upload in: the AWS tools' 8 MiB, and sizes that are set by hand
_USUAL_PARTS = [size * 2**20 for size in (16, 8, 5, 10, 15, 25, 32, 50, 64, 100, 128, 256, 512)]

_noted_unchecked: set[str] = set()


def get(remote: S3Uri) -> tuple[bytes, dict[str, Any]]:
    """Content of a small object, and the store's answer. Raises NotFound."""

    def once(client: Any) -> tuple[bytes, dict[str, Any]]:
        answer = open_object(client, remote)
        return _body(remote, answer), answer

    return call(remote, once)


def download(
    remote: S3Uri, path: Path, done: Done | None = None, *, etag: str = "", size: int | None = None, sha256: str = ""
) -> None:
    """Fetch an object into a new file, ranges in parallel when it is large.

    Args:
        remote: the object.
        path: the file; after a fault it is not there.
        done: is told the bytes as they come, from several threads.
        etag, size: what a listing said of it; a change since then is a fault.
        sha256: of the right content, where the caller knows it. Without it the store's checksum or ETag decides. A
            store that gives neither cannot be checked beyond the size, which is told once.

    Raises:
        NotFound: nothing is there.
        StepFailed: it changed meanwhile.
        DamagedTransfer: what arrives is not what the store or `sha256` says, again and again.
    """
    for number in range(1, DAMAGED_TRIES + 1):
        try:
            _fetch(remote, path, etag, size, sha256)
            break
        except DamagedTransfer:
            path.unlink(missing_ok=True)
            if number == DAMAGED_TRIES:
                raise
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    if done:
        done(path.stat().st_size)


def _fetch(remote: S3Uri, path: Path, etag: str, size: int | None, sha256: str) -> None:
    """One try to fetch a whole object and to prove it; its parts are tried again by themselves."""

    def start(client: Any) -> tuple[dict[str, Any], bytes]:
        answer = open_object(client, remote)
        if (etag and checksums.etag_of(answer) != etag) or (size is not None and answer["ContentLength"] != size):
            answer["Body"].close()
            raise StepFailed(f"{remote.uri}: changed while it was read; try again")
        if answer["ContentLength"] <= PART_BYTES:
            return answer, _read_whole(remote, answer)
        answer["Body"].close()
        return answer, b""

    answer, data = call(remote, start)
    length, current = answer["ContentLength"], checksums.etag_of(answer)
    with path.open("wb") as file:
        file.write(data)
        if length > PART_BYTES:
            file.truncate(length)
            handle = file.fileno()

            def bring(number: int, cancelled: threading.Event) -> None:
                first = number * PART_BYTES
                last = min(first + PART_BYTES, length) - 1
                _write_at(handle, call(remote, partial(_range, remote, current, first, last), cancelled), first)

            in_threads(bring, -(-length // PART_BYTES))
    if sha256 and local_store.sha256_of(path) == sha256:
        return
    as_stored = checksums.agrees(remote, answer, path, lambda: _part_sizes(remote, current))
    if as_stored is None and not sha256:
        _note_unchecked(remote)
    elif as_stored and sha256:
        raise StepFailed(f"{remote.uri}: is damaged, in the store: its SHA-256 is another")
    elif not as_stored:
        raise DamagedTransfer(f"{remote.uri}: is damaged, on its way from the object store or in it")


def open_object(client: Any, remote: S3Uri, **more: str) -> dict[str, Any]:
    """The store's answer to a request for an object, its body not yet read; InputError where that is none."""
    # some stores send the whole object's checksum with a range of it
    more = more or {"ChecksumMode": "ENABLED"}
    answer = client.get_object(Bucket=remote.bucket, Key=remote.key, **more)
    if not checksums.etag_of(answer):
        answer["Body"].close()
        raise no_store(remote, f"an object without an ETag, {answer.get('ContentType', 'of no type')}")
    return answer


def _read_whole(remote: S3Uri, answer: dict[str, Any]) -> bytes:
    data = answer["Body"].read()
    if len(data) != answer["ContentLength"]:
        raise DamagedTransfer(f"{remote.uri}: {len(data):,} of {answer['ContentLength']:,} bytes arrived")
    return data


def _body(remote: S3Uri, answer: dict[str, Any]) -> bytes:
    """The content of an answer. The client library has compared the checksum, if the store gave one."""
    data = _read_whole(remote, answer)
    etag = checksums.etag_of(answer)
    if checksums.is_md5(remote, answer) and "-" not in etag and checksums.md5(data).hexdigest() != etag:
        raise DamagedTransfer(f"{remote.uri}: damaged on its way from the object store, or in it")
    return data


def _range(remote: S3Uri, etag: str, first: int, last: int, client: Any) -> bytes:
    answer = open_object(client, remote, Range=f"bytes={first}-{last}")
    if checksums.etag_of(answer) != etag:
        answer["Body"].close()
        raise StepFailed(f"{remote.uri}: changed while it was read; try again")
    data = _read_whole(remote, answer)
    if len(data) != last + 1 - first:
        raise DamagedTransfer(f"{remote.uri}: {len(data):,} of {last + 1 - first:,} bytes arrived")
    return data


def _write_at(handle: int, data: bytes, start: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, start)
        view, start = view[written:], start + written


def _part_sizes(remote: S3Uri, etag: str) -> list[int]:
    """The sizes of parts in which an object may have been uploaded: what the store says, then what is usual."""
    key = {"Bucket": remote.bucket, "Key": remote.key}
    try:
        answer = call(remote, lambda client: client.head_object(**key, PartNumber=1))
    except (StepFailed, NotFound):
        return [0, *_USUAL_PARTS]
    told = answer["ContentLength"] if answer.get("PartsCount") == int(etag.rpartition("-")[2]) else 0
    return [told, *_USUAL_PARTS]


def _note_unchecked(remote: S3Uri) -> None:
    endpoint = endpoint_of(remote)
    if endpoint not in _noted_unchecked:
        _noted_unchecked.add(endpoint)
        logger.warning(
            f"note: {remote.uri}: the store gives no checksum that can be compared; only the size was checked"
        )


def in_threads(work: Callable[[int, threading.Event], T], count: int) -> Sequence[T]:
    """``work(0) ... work(count - 1)`` by a few threads; the first fault ends the waiting of all of them."""
    cancelled = threading.Event()
    with ThreadPoolExecutor(min(THREADS, count), thread_name_prefix="transfer") as pool:
        # each with the caller's own limit of waiting
        running = [pool.submit(copy_context().run, work, number, cancelled) for number in range(count)]
        try:
            return [future.result() for future in running]
        except BaseException:
            cancelled.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
