"""What proves that an object arrived whole: the store's checksum of it, or an ETag that is an MD5.

An ETag is the MD5 of the content where the object was stored in one piece without a key of KMS or of the customer's,
and for an upload in n parts the MD5 of the parts' MD5s and ``-n``
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html). Stores that look like S3 keep to it, but for a few;
`SHARPEN_STORE_ETAGS=opaque` says that theirs mean nothing.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from sharpen.uri import S3Uri

ETAGS_VARIABLE = "SHARPEN_STORE_ETAGS"
OPAQUE = "opaque"

_CHUNK = 2**20
_MD5 = re.compile(r"^[0-9a-f]{32}$")
_MD5_OF_PARTS = re.compile(r"^([0-9a-f]{32})-([1-9][0-9]{0,4})$")


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


# the names of the answer's fields, best first; CRC32C and CRC64NVME would need another library
_CHECKSUMS: dict[str, Callable[[], _Hash]] = {
    "ChecksumSHA256": hashlib.sha256,
    "ChecksumSHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "ChecksumCRC32": _Crc32,
}


def md5(data: bytes = b"") -> Any:
    """MD5 as S3 uses it, against damage and not against forgery."""
    return hashlib.md5(data, usedforsecurity=False)


def base64_of(digest: bytes) -> str:
    """A digest as S3's headers hold it."""
    return base64.b64encode(digest).decode()


def etag_of(answer: Mapping[str, Any]) -> str:
    """The ETag of an answer without its quotes; empty: there is none."""
    return str(answer.get("ETag", "")).strip('"')


def is_md5(remote: S3Uri, answer: Mapping[str, Any]) -> bool:
    """True when the answer's ETag is an MD5 of the content, or of the parts' MD5s."""
    etag = etag_of(answer)
    encrypted = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms") or "SSECustomerAlgorithm" in answer
    # directory buckets of S3 Express One Zone have ETags of another kind
    other = remote.bucket.endswith("--x-s3") or os.environ.get(ETAGS_VARIABLE) == OPAQUE
    return not encrypted and not other and bool(_MD5.match(etag) or _MD5_OF_PARTS.match(etag))


def agrees(remote: S3Uri, answer: Mapping[str, Any], path: Path, part_sizes: Callable[[], list[int]]) -> bool | None:
    """Does a file hold what a GET answered?

    Args:
        remote: the object.
        answer: the answer, asked for with checksums.
        path: the file.
        part_sizes: the sizes in bytes of the parts that the object may have been uploaded in, likeliest first; called
            only when they are needed.

    Returns:
        None: the store gives nothing that can be compared.
    """
    for name, kind in _CHECKSUMS.items():
        value = str(answer.get(name) or "")
        # "-n" at the end: a checksum of the parts' checksums
        if value and "-" not in value:
            return base64_of(_digest(path, kind)) == value
    if not is_md5(remote, answer):
        return None
    etag = etag_of(answer)
    if _MD5.match(etag):
        return _digest(path, md5).hex() == etag
    return _agrees_in_parts(path, etag, part_sizes())


def _agrees_in_parts(path: Path, etag: str, part_sizes: list[int]) -> bool | None:
    size, parts = path.stat().st_size, int(etag.rpartition("-")[2])
    fitting = [part for part in dict.fromkeys(part_sizes) if part > 0 and max(1, -(-size // part)) == parts]
    if any(md5_of_parts(path, part) == etag for part in fitting):
        return True
    # the first size is the store's own word; the others are guesses, of which none need be right
    return False if fitting and fitting[0] == part_sizes[0] else None


def md5_of_parts(path: Path, part_size: int) -> str:
    """The ETag of a file that was uploaded in parts of so many bytes."""
    whole, count = md5(), 0
    with path.open("rb") as file:
        while True:
            part, left = md5(), part_size
            while left and (data := file.read(min(_CHUNK, left))):
                part.update(data)
                left -= len(data)
            if left == part_size and count:
                break
            whole.update(part.digest())
            count += 1
            if left:
                break
    return f"{whole.hexdigest()}-{count}"


def _digest(path: Path, kind: Callable[[], _Hash]) -> bytes:
    found = kind()
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            found.update(data)
    return found.digest()
