"""Content that goes to and comes from an object store, compared at both ends.

What is sent carries its SHA-256 (or, where a store knows no checksums, its MD5), by which the store refuses damaged
bytes; and the answer must show that the store holds what was sent, else the object is read again and compared. What is
fetched is compared with the store's checksum or ETag, or with a SHA-256 that the caller knows. Bytes that arrive
damaged are sent or fetched again, a few times.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sharpen.errors import StepFailed
from sharpen.store import checksums, local_store
from sharpen.store.retry import DAMAGED_TRIES, at_most, call
from sharpen.store.s3_client import endpoint_of
from sharpen.store.s3_errors import code_of, no_store
from sharpen.uri import DamagedTransfer, NotFound, S3Uri

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

logger = logging.getLogger(__name__)

T = TypeVar("T")
Done = Callable[[int], None]

PART_BYTES = 16 * 2**20
MOST_PARTS = 10_000
THREADS = 4
# what other programs upload in: the AWS tools' 8 MiB, and sizes that are set by hand
_USUAL_PARTS = [size * 2**20 for size in (16, 8, 5, 10, 15, 25, 32, 50, 64, 100, 128, 256, 512)]
_MEBIBYTE = 2**20

# endpoints whose store refuses the header with a SHA-256
_without_checksums: set[str] = set()
_told_unchecked: set[str] = set()


def get(remote: S3Uri) -> tuple[bytes, dict[str, Any]]:
    """Content of a small object, and the store's answer. Raises NotFound."""

    def once(client: Any) -> tuple[bytes, dict[str, Any]]:
        answer = _opened(client, remote)
        return _body(remote, answer), answer

    return call(remote, once)


def put(remote: S3Uri, data: bytes, **condition: str) -> str:
    """Store a small object and return its ETag.

    Args:
        remote: where.
        data: the content.
        condition: ``IfMatch`` or ``IfNoneMatch``.

    Raises:
        PreconditionFailed: the condition does not hold.
        DamagedTransfer: the store holds other bytes than were sent, again and again.
    """
    tries, overwriting = 0, False

    def once(client: Any) -> str:
        nonlocal tries, condition, overwriting
        tries += 1
        try:
            answer = _send(client.put_object, remote, data, **condition)
        except _client_error() as error:
            # an attempt may be stored although its answer was lost: then the next one fails on our own write
            if condition and tries > 1 and _is_refused_condition(error) and (etag := _holds(client, remote, data)):
                return etag
            if overwriting:
                raise StepFailed(
                    f"{remote.uri}: the store took other bytes than were sent, or somebody else's"
                ) from None
            raise
        etag = checksums.etag_of(answer)
        if not _is_proven(remote, answer, data) and not _holds(client, remote, data):
            if condition:
                # what lies there now is our own
                condition, overwriting = {"IfMatch": f'"{etag}"'}, True
            raise DamagedTransfer(f"{remote.uri}: damaged on its way to the object store")
        return etag

    return call(remote, once)


def upload(remote: S3Uri, path: Path, done: Done | None = None) -> None:
    """Store a local file, in parts when it is large; `done` is told the bytes as they go, from several threads.

    Raises: as `put`.
    """
    size = path.stat().st_size
    if size <= PART_BYTES:
        put(remote, path.read_bytes())
        if done:
            done(size)
        return
    part_size = max(PART_BYTES, -(-size // MOST_PARTS // _MEBIBYTE) * _MEBIBYTE)
    starts = range(0, size, part_size)
    upload_id = call(remote, partial(_begun, remote))
    try:
        with path.open("rb") as file:

            def send(number: int, cancelled: threading.Event) -> tuple[dict[str, Any], bytes]:
                data = os.pread(file.fileno(), part_size, starts[number])
                sent = _sent_part(remote, data, {"PartNumber": number + 1, "UploadId": upload_id}, cancelled)
                if done:
                    done(len(data))
                return sent, checksums.md5(data).digest()

            sent = _at_once(send, len(starts))
        right = f"{checksums.md5(b''.join(digest for _, digest in sent)).hexdigest()}-{len(sent)}"
        etag = call(remote, partial(_completed, remote, upload_id, [part for part, _ in sent], right))
    except BaseException:
        # a store keeps the parts of an unfinished upload, and lets them be paid for
        with suppress(Exception), at_most(0):
            key = {"Bucket": remote.bucket, "Key": remote.key}
            call(remote, lambda client: client.abort_multipart_upload(**key, UploadId=upload_id))
        raise
    if etag != right and not _reads_as(remote, path):
        raise DamagedTransfer(f"{remote.uri}: damaged on its way to the object store")


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
        answer = _opened(client, remote)
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

            _at_once(bring, -(-length // PART_BYTES))
    if sha256 and local_store.sha256_of(path) == sha256:
        return
    as_stored = checksums.agrees(remote, answer, path, lambda: _part_sizes(remote, current))
    if as_stored is None and not sha256:
        _tell_unchecked(remote)
    elif as_stored and sha256:
        raise StepFailed(f"{remote.uri}: is damaged, in the store: its SHA-256 is another")
    elif not as_stored:
        raise DamagedTransfer(f"{remote.uri}: is damaged, on its way from the object store or in it")


def _opened(client: Any, remote: S3Uri, **more: str) -> dict[str, Any]:
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
    answer = _opened(client, remote, Range=f"bytes={first}-{last}")
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


def _tell_unchecked(remote: S3Uri) -> None:
    endpoint = endpoint_of(remote)
    if endpoint not in _told_unchecked:
        _told_unchecked.add(endpoint)
        logger.warning(
            f"note: {remote.uri}: the store gives no checksum that can be compared; only the size was checked"
        )


def _send(operation: Callable[..., Any], remote: S3Uri, data: bytes, **more: Any) -> dict[str, Any]:
    """Send bytes with a checksum that the store compares; in a store that refuses it, with their MD5."""
    request = {"Bucket": remote.bucket, "Key": remote.key, "Body": data, **more}
    by_md5 = {"ContentMD5": checksums.base64_of(checksums.md5(data).digest())}
    endpoint = endpoint_of(remote)
    if endpoint in _without_checksums:
        return operation(**request, **by_md5)
    try:
        return operation(**request, ChecksumSHA256=checksums.base64_of(hashlib.sha256(data).digest()))
    except _client_error() as error:
        if code_of(error) not in ("NotImplemented", "InvalidArgument", "InvalidRequest", "501"):
            raise
        answer = operation(**request, **by_md5)
        # it was the checksum that the store did not know
        _without_checksums.add(endpoint)
        return answer


def _is_proven(remote: S3Uri, answer: dict[str, Any], data: bytes) -> bool:
    """Does the answer to an upload show that the store holds these bytes?"""
    etag = checksums.etag_of(answer)
    if not etag:
        raise no_store(remote, "an upload's answer without an ETag")
    if etag == checksums.md5(data).hexdigest():
        return True
    return not checksums.is_md5(remote, answer) and answer.get("ChecksumSHA256") == checksums.base64_of(
        hashlib.sha256(data).digest()
    )


def _holds(client: Any, remote: S3Uri, data: bytes) -> str:
    """The object's ETag if its content is `data`, by reading it; else empty."""
    answer = _opened(client, remote)
    return checksums.etag_of(answer) if answer["Body"].read() == data else ""


def _begun(remote: S3Uri, client: Any) -> str:
    key = {"Bucket": remote.bucket, "Key": remote.key}
    if endpoint_of(remote) not in _without_checksums:
        try:
            return client.create_multipart_upload(**key, ChecksumAlgorithm="SHA256")["UploadId"]
        except _client_error() as error:
            if code_of(error) not in ("NotImplemented", "InvalidArgument", "InvalidRequest", "501"):
                raise
            upload_id = client.create_multipart_upload(**key)["UploadId"]
            _without_checksums.add(endpoint_of(remote))
            return upload_id
    return client.create_multipart_upload(**key)["UploadId"]


def _sent_part(remote: S3Uri, data: bytes, more: dict[str, Any], cancelled: threading.Event) -> dict[str, Any]:
    tries = 0

    def once(client: Any) -> dict[str, Any]:
        nonlocal tries
        tries += 1
        answer = _send(client.upload_part, remote, data, **more)
        # a part cannot be read; where its ETag says nothing, the whole object is read at the end
        if not _is_proven(remote, answer, data) and tries < DAMAGED_TRIES:
            raise DamagedTransfer(f"{remote.uri}: damaged on its way to the object store")
        sent = {"PartNumber": more["PartNumber"], "ETag": answer["ETag"]}
        if "ChecksumSHA256" in answer:
            sent["ChecksumSHA256"] = answer["ChecksumSHA256"]
        return sent

    return call(remote, once, cancelled)


def _completed(remote: S3Uri, upload_id: str, parts: list[dict[str, Any]], etag: str, client: Any) -> str:
    try:
        answer = client.complete_multipart_upload(
            Bucket=remote.bucket, Key=remote.key, UploadId=upload_id, MultipartUpload={"Parts": parts}
        )
    except _client_error() as error:
        # the answer of an earlier try was lost
        if code_of(error) == "NoSuchUpload":
            answer = client.head_object(Bucket=remote.bucket, Key=remote.key)
            if checksums.etag_of(answer) == etag:
                return etag
        raise
    return checksums.etag_of(answer)


def _reads_as(remote: S3Uri, path: Path) -> bool:
    """True when the object, read again, is the file: for stores whose ETags say nothing."""

    def once(client: Any) -> str:
        found = hashlib.sha256()
        for chunk in _opened(client, remote)["Body"].iter_chunks(_MEBIBYTE):
            found.update(chunk)
        return found.hexdigest()

    return call(remote, once) == local_store.sha256_of(path)


def _at_once(work: Callable[[int, threading.Event], T], count: int) -> Sequence[T]:
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


def _is_refused_condition(error: ClientError) -> bool:
    return code_of(error) in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


def _client_error() -> type[ClientError]:
    from botocore.exceptions import ClientError  # imported late: the command line starts without it

    return ClientError
