"""Content that goes to an object store, whose answer must show that the store holds it.

What is sent carries its SHA-256 (or, where a store knows no checksums, its MD5), by which the store refuses damaged
bytes; where the answer proves nothing, the object is read again and compared. Bytes that arrive damaged are sent again,
a few times.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpen.errors import StepFailed
from sharpen.retry import at_most
from sharpen.store import checksums, local_store
from sharpen.store.retry import DAMAGED_TRIES, call
from sharpen.store.s3_client import endpoint_of
from sharpen.store.s3_download import PART_BYTES, Done, in_threads, open_object
from sharpen.store.s3_errors import code_of, no_store
from sharpen.uri import DamagedTransfer, S3Uri

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

MOST_PARTS = 10_000
_MEBIBYTE = 2**20

# endpoints whose store refuses the header with a SHA-256
_without_checksums: set[str] = set()


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

            sent = in_threads(send, len(starts))
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
    answer = open_object(client, remote)
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
        for chunk in open_object(client, remote)["Body"].iter_chunks(_MEBIBYTE):
            found.update(chunk)
        return found.hexdigest()

    return call(remote, once) == local_store.sha256_of(path)


def _is_refused_condition(error: ClientError) -> bool:
    return code_of(error) in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


def _client_error() -> type[ClientError]:
    from botocore.exceptions import ClientError  # imported late: the command line starts without it

    return ClientError
