"""What every store shares: how an address is read, and what a stored file and a lost race look like.

An address is ``s3://bucket/key``, ``minio://bucket/key`` (the same protocol; the endpoint comes from the environment)
or a plain path. A remote address may end with ``?endpoint=URL`` and ``&region=NAME``, which win over the environment.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from sharpen.errors import InputError, StepFailed

SCHEMES = ("s3", "minio")

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://(.*)$", re.DOTALL)
# what S3 and its look-alikes accept between them; the store itself may be stricter
_BUCKET = re.compile(r"^[A-Za-z0-9._-]{1,255}$")
_OPTIONS = ("endpoint", "region")
_NO_SECRETS = (
    "user name and password do not belong into an address, which logs and compiled pipelines show; "
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)


class PreconditionFailed(Exception):
    """A conditional write lost: somebody else changed the object first."""


class NotFound(InputError):
    """Nothing is stored at the address."""


class Unreachable(InputError):
    """Nothing at the endpoint has ever answered as an object store.

    Args:
        what: what was seen.
        question: what the user may have done wrong.
    """

    def __init__(self, what: str, question: str) -> None:
        self.what = what
        super().__init__(f"{what}; {question}")


class CredentialsError(InputError):
    """No credentials for the object store."""


class StoreUnavailable(StepFailed):
    """A store that has answered before, in this process or this run, does not answer now."""


class DamagedTransfer(StepFailed):
    """What arrived is not what was sent."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a store: its address, its name relative to the listed folder, size in bytes, ETag (content tag), and
    when it was last written, where the store's listing says so.
    """

    uri: str
    name: str
    size: int
    etag: str
    modified: datetime | None = None


@dataclass(frozen=True)
class S3Uri:
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

    def below(self, name: str) -> S3Uri:
        """The file `name` below this address, whatever characters its name holds."""
        return S3Uri(join(self.uri, name), self.bucket, self.prefix + name, self.endpoint, self.region)


def scheme_of(uri: str) -> str:
    """The scheme of an address in lower case; empty for a plain path."""
    match = _SCHEME.match(uri)
    return match[1].lower() if match else ""


def is_remote(uri: str) -> bool:
    """True for ``s3://`` and ``minio://`` addresses."""
    return scheme_of(str(uri)) in SCHEMES


def parse_remote(uri: str) -> S3Uri:
    """Parse a remote address.

    Raises:
        InputError: another scheme, no bucket, an unknown option after ``?``, or a key that some stores refuse or
            resolve to another place (``/./``, ``/../``, ``//``).
    """
    match = _SCHEME.match(uri)
    if match is None or match[1].lower() not in SCHEMES:
        raise InputError(f"{redacted(uri)}: not an address of an object store; write s3://bucket/key")
    location, _, query = match[2].partition("?")
    bucket, _, key = location.partition("/")
    # what follows the question mark may hold a secret until it is known to be an endpoint without one
    uri_shown = f"{match[1]}://{location}"
    if "@" in bucket:
        raise InputError(f"{match[1]}://...: {_NO_SECRETS}")
    if not _BUCKET.match(bucket):
        raise InputError(f"{uri_shown}: {bucket!r} is not the name of a bucket; write s3://bucket/key")
    key = key.removesuffix("/")
    if key and any(part in ("", ".", "..") for part in key.split("/")):
        raise InputError(f"{uri_shown}: a key may not have an empty part, '.' or '..' between slashes")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(set(options) - set(_OPTIONS)):
        unknown = [redacted(name) for name in unknown]
        raise InputError(f"{uri_shown}: unknown option {', '.join(unknown)} after '?'; known: {', '.join(_OPTIONS)}")
    endpoint = options.get("endpoint") or None
    if endpoint:
        check_endpoint(endpoint, f"{uri_shown}: endpoint")
    return S3Uri(uri, bucket, key, endpoint, options.get("region") or None)


def check_endpoint(endpoint: str, where: str) -> None:
    """Refuse what is no address of a server, and one that holds a secret, which is not shown.

    Args:
        endpoint: for example ``http://host:9000``.
        where: what the message begins with.

    Raises:
        InputError: not ``http://`` or ``https://``, no host, a port that is no number, or a user name in it.
    """
    if "@" in endpoint:
        raise InputError(f"{where}: {_NO_SECRETS}")
    try:
        parts = urlsplit(endpoint)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound:
        raise InputError(f"{where}: {endpoint!r} is not an http:// or https:// address, such as http://host:9000")


def redacted(text: str) -> str:
    """The text without what stands between ``://`` and ``@``: a user name, and perhaps a password."""
    return re.sub(r"://.*@", "://...@", text, flags=re.DOTALL)


def local_path(uri: str | Path) -> Path:
    """The path that a plain address means, with ``~`` resolved.

    Raises:
        InputError: the address is empty, names a user who is not there (``~nobody``), holds a NUL character, or has a
            scheme that cannot be read.
    """
    if scheme := scheme_of(str(uri)):
        shown = redacted(str(uri))
        raise InputError(f"{shown}: addresses with {scheme}:// cannot be read; use s3://, minio:// or a plain path")
    if not str(uri):
        raise InputError("an empty address was given; use s3://bucket/key or a path")
    if "\0" in str(uri):
        raise InputError(f"{str(uri)!r}: a path cannot hold a NUL character")
    try:
        return Path(uri).expanduser()
    except RuntimeError:
        raise InputError(f"{uri}: there is no such user, or this user has no home folder") from None


def join(uri: str, *parts: str) -> str:
    """The address of something below `uri`; options after ``?`` stay at the end."""
    uri = str(uri)
    if not is_remote(uri):
        return str(Path(uri, *[part.strip("/") for part in parts]))
    location, mark, query = uri.partition("?")
    joined = "/".join([location.rstrip("/"), *[part.strip("/") for part in parts if part.strip("/")]])
    return joined + mark + query


def sibling(uri: str, name: str) -> str:
    """The address ``<uri>-<name>`` beside `uri`; options after ``?`` stay at the end."""
    location, mark, options = uri.partition("?") if is_remote(uri) else (uri, "", "")
    return f"{location.rstrip('/')}-{name}{mark}{options}"


def validate_relative_path(name: str, where: str) -> str:
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
        except (json.JSONDecodeError, RecursionError) as error:
            reason = error if isinstance(error, json.JSONDecodeError) else "too deeply nested"
            raise InputError(f"addresses: not a valid JSON list ({reason}): {redacted(text)[:80]}") from None
    else:
        found = [text] if "," in text and _is_path(text) else text.split(",")
    if not all(isinstance(address, str) for address in found):
        raise InputError(f"addresses: a list of texts is expected: {redacted(str(text))[:80]}")
    return list(dict.fromkeys(address.strip() for address in found if address.strip()))


def _is_path(text: str) -> bool:
    try:
        return Path(text).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long for a name, no such user, NUL
        return False
