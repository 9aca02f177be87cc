"""What every store shares: how an address is read, and what a stored file and a lost race look like.

An address is ``s3://bucket/key``, ``minio://bucket/key`` (the same protocol; the endpoint comes from the environment)
or a plain path. A remote address may end with ``?endpoint=URL`` and ``&region=NAME``, which win over the environment.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from components.core.errors import InputError

SCHEMES = ("s3", "minio")

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://(.*)$", re.DOTALL)
# what S3 and its look-alikes accept between them; the store itself may be stricter
_BUCKET = re.compile(r"^[A-Za-z0-9._-]{1,255}$")
_OPTIONS = ("endpoint", "region")


class PreconditionFailed(Exception):
    """A conditional write lost: somebody else changed the object first."""


class NotFound(InputError):
    """Nothing is stored at the address."""


class Unreachable(InputError):
    """No connection to the store from here."""


class NoCredentials(InputError):
    """Nothing here says who asks."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a store: its address, its name relative to the listed folder, size in bytes, and ETag (content tag)."""

    uri: str
    name: str
    size: int
    etag: str


@dataclass(frozen=True)
class Remote:
    """The parts of a remote address; `key` has no slash at either end and is empty for the bucket itself."""

    uri: str
    bucket: str
    key: str
    endpoint: str | None = None
    region: str | None = None

    @property
    def prefix(self) -> str:
        """What the keys of the files below this address begin with."""
        return f"{self.key}/" if self.key else ""

    def below(self, name: str) -> Remote:
        """The file `name` below this address, whatever characters its name holds."""
        return Remote(join(self.uri, name), self.bucket, self.prefix + name, self.endpoint, self.region)


def scheme_of(uri: str) -> str:
    """The scheme of an address in lower case; empty for a plain path."""
    match = _SCHEME.match(uri)
    return match[1].lower() if match else ""


def is_remote(uri: str) -> bool:
    """True for ``s3://`` and ``minio://`` addresses."""
    return scheme_of(str(uri)) in SCHEMES


def parse_remote(uri: str) -> Remote:
    """Take a remote address apart.

    Raises:
        InputError: another scheme, no bucket, an unknown option after ``?``, or a key that some stores refuse or
            resolve to another place (``/./``, ``/../``, ``//``).
    """
    match = _SCHEME.match(uri)
    if match is None or match[1].lower() not in SCHEMES:
        raise InputError(f"{uri}: not an address of an object store; write s3://bucket/key")
    location, _, query = match[2].partition("?")
    bucket, _, key = location.partition("/")
    if not _BUCKET.match(bucket):
        raise InputError(f"{uri}: {bucket!r} is not the name of a bucket; write s3://bucket/key")
    key = key.removesuffix("/")
    if key and any(part in ("", ".", "..") for part in key.split("/")):
        raise InputError(f"{uri}: a key may not have an empty part, '.' or '..' between slashes")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(set(options) - set(_OPTIONS)):
        raise InputError(f"{uri}: unknown option {', '.join(unknown)} after '?'; known: {', '.join(_OPTIONS)}")
    return Remote(uri, bucket, key, options.get("endpoint") or None, options.get("region") or None)


def local_path(uri: str | Path) -> Path:
    """The path that a plain address means, with ``~`` resolved.

    Raises:
        InputError: the address is empty or has a scheme that cannot be read.
    """
    if scheme := scheme_of(str(uri)):
        raise InputError(f"{uri}: addresses with {scheme}:// cannot be read; use s3://, minio:// or a plain path")
    if not str(uri):
        raise InputError("an empty address was given; use s3://bucket/key or a path")
    return Path(uri).expanduser()


def join(uri: str, *parts: str) -> str:
    """The address of something below `uri`; options after ``?`` stay at the end."""
    uri = str(uri)
    if not is_remote(uri):
        return str(Path(uri, *[part.strip("/") for part in parts]))
    location, mark, query = uri.partition("?")
    joined = "/".join([location.rstrip("/"), *[part.strip("/") for part in parts if part.strip("/")]])
    return joined + mark + query


def safe_name(name: str, where: str) -> str:
    """`name` if it stays inside the folder that it is relative to.

    Raises:
        InputError: the name is absolute or has an empty part, ``.`` or ``..`` in it.
    """
    if "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise InputError(f"{where}: the file name {name!r} leaves its folder; nothing was read")
    return name


def split_addresses(text: str | list[str]) -> list[str]:
    """The addresses in a text: a JSON list, or addresses separated by commas. A list is returned as it is.

    A path that exists is one address, even with a comma in it.
    """
    if isinstance(text, list):
        found = text
    elif text.lstrip().startswith("["):
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"addresses: not a valid JSON list ({error}): {text[:80]}") from None
    else:
        found = [text] if "," in text and Path(text).expanduser().exists() else text.split(",")
    if not all(isinstance(address, str) for address in found):
        raise InputError(f"addresses: a list of texts is expected: {str(text)[:80]}")
    return list(dict.fromkeys(address.strip() for address in found if address.strip()))
