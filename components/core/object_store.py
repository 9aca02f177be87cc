"""Files in an S3-compatible object store: one function per operation, and plain words for its errors.

Credentials and endpoint come from the standard AWS variables and files. Nothing here knows what the files mean.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from components.core.addresses import (
    NoCredentials,
    NotFound,
    PreconditionFailed,
    Remote,
    StoredFile,
    Unreachable,
    join,
    scheme_of,
)
from components.core.errors import InputError, StepFailed

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

CONNECT_SECONDS = 3
READ_SECONDS = 60
ATTEMPTS = 4
# the first call of a run must fail fast when the endpoint is wrong
PROBE_ATTEMPTS = 2
PART_BYTES = 16 * 2**20

_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_IDENTITY_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_making = threading.Lock()


def client(remote: Remote, *, attempts: int = ATTEMPTS) -> Any:
    """The client for an address. Clients are shared between threads, and made anew when the AWS variables change."""
    endpoint = remote.endpoint or next((os.environ[name] for name in _ENDPOINT_VARIABLES if os.environ.get(name)), None)
    if endpoint is None and scheme_of(remote.uri) == "minio":
        raise InputError(
            f"{remote.uri}: set AWS_ENDPOINT_URL_S3 to the address of the store, for example http://host:9000"
        )
    if endpoint is not None and urlsplit(endpoint).scheme not in ("http", "https"):
        raise InputError(f"{remote.uri}: the endpoint {endpoint!r} is not an http:// or https:// address")
    # the secret itself must not lie in a cache key that a traceback could show
    identity = hash(tuple(os.environ.get(name) for name in _IDENTITY_VARIABLES))
    with _making:
        return _client(endpoint, remote.region, attempts, identity, os.getpid())


@cache
def _client(endpoint: str | None, region: str | None, attempts: int, _identity: int, _pid: int) -> Any:
    from boto3.session import Session
    from botocore.config import Config

    def made(style: str) -> Any:
        config = Config(
            s3={"addressing_style": style},  # type: ignore[arg-type]
            retries={"mode": "adaptive", "total_max_attempts": attempts},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=16,
            # boto3's default checksum trailers are refused by older S3-compatible stores
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # a company's proxy cannot reach this machine
            proxies={} if endpoint and urlsplit(endpoint).hostname in _LOOPBACK else None,
        )
        session = Session()
        place = region or os.environ.get("AWS_REGION") or session.region_name or "us-east-1"
        return session.client("s3", region_name=place, endpoint_url=endpoint, config=config)

    if endpoint is None:
        found = made("auto")
        # a profile may name an endpoint too
        if _is_aws(found.meta.endpoint_url):
            return found
    return made("auto" if endpoint is not None and _is_aws(endpoint) else "path")


def _is_aws(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))


@contextmanager
def told(remote: Remote) -> Iterator[None]:
    """Turn errors of the client library into one line each.

    Raises:
        NotFound, PreconditionFailed: as named.
        Unreachable, NoCredentials: as named (both InputErrors).
        InputError: bucket, key, secret or rights are wrong, or the store is full.
        StepFailed: the store failed after the retries.
    """
    from boto3.exceptions import Boto3Error
    from botocore import exceptions as faults

    try:
        yield
    except faults.ClientError as error:
        raise _told_answer(remote, error) from None
    except (faults.NoCredentialsError, faults.PartialCredentialsError, faults.ProfileNotFound) as error:
        raise NoCredentials(
            f"{remote.uri}: no credentials for the object store ({_line(error)}); "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from None
    except (faults.ReadTimeoutError, faults.ConnectionClosedError, faults.IncompleteReadError) as error:
        raise StepFailed(f"{remote.uri}: {endpoint_of(remote)} stopped answering ({_line(error)}); try again") from None
    except (faults.ConnectionError, faults.HTTPClientError) as error:
        raise Unreachable(
            f"{remote.uri}: cannot reach the object store at {endpoint_of(remote)} ({_reason(error)}); "
            "is it running, and is AWS_ENDPOINT_URL_S3 right?"
        ) from None
    except (faults.BotoCoreError, Boto3Error) as error:
        cause = error.__context__
        if isinstance(cause, faults.ClientError):
            raise _told_answer(remote, cause) from None
        raise StepFailed(f"{remote.uri}: {_line(error)}") from None


def endpoint_of(remote: Remote) -> str:
    """The endpoint that serves an address, for messages."""
    return client(remote).meta.endpoint_url


def _told_answer(remote: Remote, error: ClientError) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    where = f"{remote.uri}: "
    if code in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
        return PreconditionFailed(f"{where}changed by somebody else")
    if code == "NoSuchBucket":
        return InputError(f"{where}no bucket {remote.bucket!r} at {endpoint_of(remote)}; create it or correct the name")
    if code in ("NoSuchKey", "NotFound", "404"):
        return NotFound(f"{where}no such file")
    if code == "SignatureDoesNotMatch":
        return InputError(f"{where}the secret is wrong for this access key; check AWS_SECRET_ACCESS_KEY")
    if code in ("InvalidAccessKeyId", "InvalidClientTokenId"):
        return InputError(f"{where}{endpoint_of(remote)} does not know this access key; check AWS_ACCESS_KEY_ID")
    if code in ("ExpiredToken", "InvalidToken", "ExpiredTokenException"):
        return InputError(f"{where}the session token has expired or is wrong; renew AWS_SESSION_TOKEN")
    if code in ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"):
        return InputError(f"{where}the bucket {remote.bucket!r} is in another region; set AWS_REGION ({_line(error)})")
    if code == "RequestTimeTooSkewed":
        return InputError(f"{where}the clock of this machine is wrong; the store refuses its signature")
    if code in ("InsufficientStorage", "XMinioStorageFull", "QuotaExceeded", "507"):
        return InputError(f"{where}no space left in the object store; free some space")
    if status == 403 or code in ("AccessDenied", "403"):
        return InputError(f"{where}access denied; this key may not do this on bucket {remote.bucket!r}")
    return StepFailed(f"{where}the object store answered {code or status}: {_line(error)}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _reason(error: Exception) -> str:
    """The innermost cause in a few words; the library's own text repeats the whole request."""
    text = _line(error)
    for known in ("Connection refused", "Name or service not known", "No route to host", "timed out", "timeout"):
        if known.lower() in text.lower():
            return known.lower()
    cause: BaseException = error
    while cause.__context__ is not None and cause.__context__ is not cause:
        cause = cause.__context__
    text = _line(cause)
    for known in ("Connection refused", "Name or service not known", "timed out"):
        if known.lower() in text.lower():
            return known.lower()
    return text[:160]


def read(remote: Remote) -> tuple[bytes, str]:
    """Content and ETag of a file. Raises NotFound."""
    with told(remote):
        answer = client(remote).get_object(Bucket=remote.bucket, Key=remote.key)
        return answer["Body"].read(), answer["ETag"].strip('"')


def read_with_age(remote: Remote) -> tuple[bytes, str, float]:
    """Content and ETag of a file, and the seconds since it was written, by the store's own clock. Raises NotFound."""
    with told(remote):
        answer = client(remote).get_object(Bucket=remote.bucket, Key=remote.key)
        now = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        moment = parsedate_to_datetime(now) if now else datetime.now(UTC)
        return answer["Body"].read(), answer["ETag"].strip('"'), (moment - answer["LastModified"]).total_seconds()


def write(remote: Remote, data: bytes, *, if_match: str | None = None, if_absent: bool = False) -> str:
    """Store `data` and return its ETag. Raises PreconditionFailed when the condition does not hold."""
    from botocore.exceptions import ClientError

    condition: dict[str, Any] = {}
    if if_match is not None:
        condition["IfMatch"] = f'"{if_match}"'
    if if_absent:
        condition["IfNoneMatch"] = "*"
    with told(remote):
        try:
            answer = client(remote).put_object(Bucket=remote.bucket, Key=remote.key, Body=data, **condition)
        except ClientError as error:
            # An attempt may be stored although its answer was lost; then the retry fails on our own write.
            retried = error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)
            if condition and retried and isinstance(_told_answer(remote, error), PreconditionFailed):
                stored, etag = read(remote)
                if stored == data:
                    return etag
            raise
    return answer["ETag"].strip('"')


def pages(remote: Remote, *, prefix: str, delimiter: str = "") -> Iterator[dict[str, Any]]:
    """The pages of a listing (ListObjectsV2)."""
    options = {"Delimiter": delimiter} if delimiter else {}
    with told(remote):
        paginator = client(remote).get_paginator("list_objects_v2")
        yield from paginator.paginate(Bucket=remote.bucket, Prefix=prefix, **options)


def files(remote: Remote) -> list[StoredFile]:
    """Every file below the address, sorted by name."""
    root = remote.uri
    found = [
        StoredFile(join(root, name), name, item["Size"], item["ETag"].strip('"'))
        for page in pages(remote, prefix=remote.prefix)
        for item in page.get("Contents", [])
        # consoles store empty objects whose key ends in a slash to show a folder
        if (name := item["Key"].removeprefix(remote.prefix)) and not name.endswith("/")
    ]
    return sorted(found, key=lambda file: file.name)


def folders(remote: Remote) -> list[str]:
    """Names of the folders directly below the address, sorted."""
    return sorted(
        item["Prefix"].removeprefix(remote.prefix).rstrip("/")
        for page in pages(remote, prefix=remote.prefix, delimiter="/")
        for item in page.get("CommonPrefixes", [])
    )


def find_file(remote: Remote) -> StoredFile | None:
    """The file with exactly this key, if there is one. By listing, since a failed HEAD has no message."""
    if not remote.key:
        return None
    with told(remote):
        answer = client(remote).list_objects_v2(Bucket=remote.bucket, Prefix=remote.key, MaxKeys=1)
    for item in answer.get("Contents", []):
        if item.get("Key") == remote.key:
            name = remote.key.rsplit("/", 1)[-1]
            return StoredFile(remote.uri, name, item.get("Size", 0), item.get("ETag", "").strip('"'))
    return None


def has_folder(remote: Remote) -> bool:
    """True when at least one file lies below the address."""
    with told(remote):
        answer = client(remote).list_objects_v2(Bucket=remote.bucket, Prefix=remote.prefix, MaxKeys=1)
    return bool(answer.get("Contents"))


def delete_keys(remote: Remote, keys: list[str]) -> None:
    """Delete files of the bucket by key; missing ones do not matter. Raises StepFailed when one stays."""
    for start in range(0, len(keys), 1000):
        batch = [{"Key": key} for key in keys[start : start + 1000]]
        with told(remote):
            answer = client(remote).delete_objects(Bucket=remote.bucket, Delete={"Objects": batch, "Quiet": True})
        if refused := answer.get("Errors"):
            first = refused[0]
            raise StepFailed(f"{remote.uri}: could not delete {first.get('Key')}: {first.get('Message')}")


def abort_uploads(remote: Remote) -> None:
    """End the uploads in parts of files below the address, whose parts nobody lists and the store keeps.

    A store that has no such call or does not allow it keeps them until a rule of its own deletes them.
    """
    with contextlib.suppress(InputError, StepFailed), told(remote):
        s3 = client(remote)
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=remote.bucket, Prefix=remote.prefix):
            for one in page.get("Uploads", []):
                s3.abort_multipart_upload(Bucket=remote.bucket, Key=one["Key"], UploadId=one["UploadId"])


def upload(remote: Remote, path: Path, done: Callable[[int], None] | None = None) -> None:
    """Store a local file, in parts when it is large; `done` is told the bytes as they go, from several threads."""
    with told(remote):
        client(remote).upload_file(str(path), remote.bucket, remote.key, Callback=done, Config=_transfer())


def download(remote: Remote, path: Path, done: Callable[[int], None] | None = None) -> None:
    """Fetch a file to a local path, ranges in parallel when it is large. Raises NotFound."""
    with told(remote):
        client(remote).download_file(remote.bucket, remote.key, str(path), Callback=done, Config=_transfer())


def _transfer() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=4)


def probe(remote: Remote, *, write: bool) -> None:
    """Check bucket, credentials, endpoint and, with `write`, the right to store and delete; fails within seconds."""
    import secrets

    with told(remote):
        quick = client(remote, attempts=PROBE_ATTEMPTS)
        quick.list_objects_v2(Bucket=remote.bucket, Prefix=remote.prefix, MaxKeys=1)
        if write:
            key = f"{remote.prefix}.write-check-{secrets.token_hex(8)}"
            quick.put_object(Bucket=remote.bucket, Key=key, Body=b"")
            quick.delete_object(Bucket=remote.bucket, Key=key)
