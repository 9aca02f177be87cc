"""Files in an S3-compatible object store: one function per operation.

Credentials and endpoint come from the standard AWS variables and files. Every operation is repeated while the store
does not answer (`sharpen.store.retry`) and fails in plain words (`s3_errors`). Nothing here knows what the files mean.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from sharpen.errors import StepFailed
from sharpen.store.checksums import etag_of
from sharpen.store.retry import call
from sharpen.store.s3_download import PART_BYTES, download, get
from sharpen.store.s3_errors import code_of, no_store
from sharpen.store.s3_upload import put, upload
from sharpen.uri import DamagedTransfer, S3Uri, StoredFile, StoreUnavailable, join

__all__ = [
    "PART_BYTES",
    "Upload",
    "abort",
    "delete_keys",
    "download",
    "files",
    "folders",
    "has_folder",
    "head",
    "pages",
    "probe",
    "read",
    "read_with_age",
    "unfinished_uploads",
    "upload",
    "write",
]


def read(remote: S3Uri) -> tuple[bytes, str]:
    """Content and ETag of a file. Raises NotFound."""
    data, answer = get(remote)
    return data, etag_of(answer)


def read_with_age(remote: S3Uri) -> tuple[bytes, str, float]:
    """Content and ETag of a file, and the seconds since it was written, by the store's own clock. Raises NotFound."""
    data, answer = get(remote)
    return data, etag_of(answer), _age(answer, answer["LastModified"])


def _age(answer: dict[str, Any], moment: datetime) -> float:
    """Seconds since a moment, by the clock of the store that gave the answer, or ours where it does not say."""
    try:
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        return (datetime.now(UTC) - moment).total_seconds()
    # a proxy may add a date of its own, and two are read as one without a zone
    return (now.replace(tzinfo=now.tzinfo or UTC) - moment).total_seconds()


def write(remote: S3Uri, data: bytes, *, if_match: str | None = None, if_absent: bool = False) -> str:
    """Store `data` and return its ETag. Raises PreconditionFailed when the condition does not hold."""
    condition: dict[str, str] = {}
    if if_match is not None:
        condition["IfMatch"] = f'"{if_match}"'
    if if_absent:
        condition["IfNoneMatch"] = "*"
    return put(remote, data, **condition)


def _listing(remote: S3Uri, **options: Any) -> dict[str, Any]:
    """One page of a listing (ListObjectsV2), of the shape that it must have."""

    def once(client: Any) -> dict[str, Any]:
        try:
            answer = client.list_objects_v2(Bucket=remote.bucket, **options)
            if "IsTruncated" not in answer or (answer["IsTruncated"] and not answer.get("NextContinuationToken")):
                kind = answer["ResponseMetadata"]["HTTPHeaders"].get("content-type", "no type")
                raise no_store(remote, f"no listing, but {kind}")
            answer["Contents"] = [
                {
                    "Key": str(item["Key"]),
                    "Size": int(item["Size"]),
                    "ETag": str(item["ETag"]).strip('"'),
                    "Age": _age(answer, item["LastModified"]),
                    "LastModified": item["LastModified"],
                }
                for item in answer.get("Contents", [])
            ]
            answer["CommonPrefixes"] = [{"Prefix": str(item["Prefix"])} for item in answer.get("CommonPrefixes", [])]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedTransfer(f"{remote.uri}: the store's listing is damaged ({error!r})") from None
        return answer

    return call(remote, once)


def pages(remote: S3Uri, **options: Any) -> Iterator[dict[str, Any]]:
    """The pages of a listing of what lies below the address: ``Contents`` with Key, Size, ETag, and Age in seconds."""
    page = _listing(remote, Prefix=remote.prefix, **options)
    yield page
    while page["IsTruncated"]:
        page = _listing(remote, Prefix=remote.prefix, ContinuationToken=page["NextContinuationToken"], **options)
        yield page


def files(remote: S3Uri) -> list[StoredFile]:
    """Every file below the address, sorted by name."""
    found = [
        StoredFile(join(remote.uri, name), name, item["Size"], item["ETag"], item["LastModified"])
        for page in pages(remote)
        for item in page["Contents"]
        # consoles store empty objects whose key ends in a slash to show a folder
        if (name := item["Key"].removeprefix(remote.prefix)) and not name.endswith("/")
    ]
    return sorted(found, key=lambda file: file.name)


def folders(remote: S3Uri) -> list[str]:
    """Names of the folders directly below the address, sorted."""
    return sorted(
        item["Prefix"].removeprefix(remote.prefix).rstrip("/")
        for page in pages(remote, Delimiter="/")
        for item in page["CommonPrefixes"]
    )


def head(remote: S3Uri) -> StoredFile | None:
    """The file with exactly this key, if there is one. By listing, since a failed HEAD has no message."""
    if not remote.key:
        return None
    for item in _listing(remote, Prefix=remote.key, MaxKeys=1)["Contents"]:
        if item["Key"] == remote.key:
            return StoredFile(remote.uri, remote.key.rsplit("/", 1)[-1], item["Size"], item["ETag"])
    return None


def has_folder(remote: S3Uri) -> bool:
    """True when at least one file lies below the address."""
    return bool(_listing(remote, Prefix=remote.prefix, MaxKeys=1)["Contents"])


def delete_keys(remote: S3Uri, keys: list[str]) -> None:
    """Delete files of the bucket by key; missing ones do not matter. Raises StepFailed when one stays."""
    for start in range(0, len(keys), 1000):
        batch = [{"Key": key} for key in keys[start : start + 1000]]

        def once(client: Any, batch: list[dict[str, str]] = batch) -> None:
            answer = client.delete_objects(Bucket=remote.bucket, Delete={"Objects": batch, "Quiet": True})
            if refused := answer.get("Errors"):
                first = refused[0]
                kind = StoreUnavailable if first.get("Code") in ("InternalError", "SlowDown") else StepFailed
                raise kind(f"{remote.uri}: could not delete {first.get('Key')}: {first.get('Message')}")

        call(remote, once)


class Upload(NamedTuple):
    """An upload in parts that was begun and not ended; nobody lists its parts, and the store keeps them.

    Attributes:
        key: of the file that it was to be.
        upload_id: its name in the store.
        size: bytes of its parts.
        age: seconds since its last part was written, by the store's clock.
    """

    key: str
    upload_id: str
    size: int
    age: float


def unfinished_uploads(remote: S3Uri) -> list[Upload]:
    """The uploads in parts of files below the address.

    Raises:
        StepFailed, InputError: a store that has no such call, or does not allow it.
    """

    def once(client: Any) -> list[Upload]:
        found = []
        for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=remote.bucket, Prefix=remote.prefix):
            for one in page.get("Uploads", []):
                names = {"Bucket": remote.bucket, "Key": one["Key"], "UploadId": one["UploadId"]}
                with _unless_ended():
                    pieces = client.get_paginator("list_parts").paginate(**names)
                    parts = [part for more in pieces for part in more.get("Parts", [])]
                    last = max([one["Initiated"], *(part["LastModified"] for part in parts)])
                    size = sum(part["Size"] for part in parts)
                    found.append(Upload(one["Key"], one["UploadId"], size, _age(page, last)))
        return found

    return call(remote, once)


def abort(remote: S3Uri, upload: Upload) -> None:
    """End an upload in parts and delete its parts; one that has ended meanwhile is left."""

    def once(client: Any) -> None:
        with _unless_ended():
            client.abort_multipart_upload(Bucket=remote.bucket, Key=upload.key, UploadId=upload.upload_id)

    call(remote, once)


@contextmanager
def _unless_ended() -> Iterator[None]:
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if code_of(error) != "NoSuchUpload":
            raise


def probe(remote: S3Uri, *, write: bool) -> None:
    """Check bucket, credentials, endpoint and, with `write`, the right to store and delete.

    Raises:
        Unreachable: within seconds, when nothing has ever answered at the endpoint.
        InputError: bucket, credentials or rights are wrong.
    """
    _listing(remote, Prefix=remote.prefix, MaxKeys=1)
    if write:
        check = S3Uri(
            remote.uri,
            remote.bucket,
            f"{remote.prefix}.write-check-{secrets.token_hex(8)}",
            remote.endpoint,
            remote.region,
        )
        put(check, b"")
        call(check, lambda client: client.delete_object(Bucket=check.bucket, Key=check.key))
