"""Clients of S3-compatible object stores, from the standard AWS variables and files."""

from __future__ import annotations

import os
import threading
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from sharpen.errors import InputError
from sharpen.uri import S3Uri, check_endpoint, scheme_of

# (connecting or taking 16 KiB of a body, the next bytes of an answer): a store that is paused answers neither, and
# one that deletes a thousand files takes a while
_SECONDS = (10, 30)
# what has never answered is not waited for that long
_FIRST_SECONDS = (3, 10)
CONNECTIONS = 16

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


def client(remote: S3Uri, *, seconds: float = float("inf"), known: bool = True) -> Any:
    """The client for an address. Clients are shared between threads, and made anew when the AWS variables change.

    It tries nothing twice: `sharpen.store.retry` does.

    Args:
        remote: the address.
        seconds: how long it may wait for the store at most.
        known: whether the store has answered before.

    Raises:
        InputError: no endpoint for ``minio://``, or the endpoint is not an address or holds a secret.
    """
    endpoint = named_endpoint(remote)
    connect, read = _SECONDS if known else _FIRST_SECONDS
    # halved, so that few clients are made
    while read > max(1, seconds):
        connect, read = max(1, connect // 2), read // 2
    with _making:
        return _client(endpoint, remote.region, (connect, read), identity(), os.getpid())


def endpoint_of(remote: S3Uri) -> str:
    """The endpoint that serves an address. Raises InputError as `client`."""
    return named_endpoint(remote) or client(remote).meta.endpoint_url


def identity() -> int:
    """A hash of the variables that say who asks: the secret must not lie where a traceback could show it."""
    return hash(tuple(os.environ.get(name) for name in _IDENTITY_VARIABLES))


def named_endpoint(remote: S3Uri) -> str | None:
    """The endpoint that an address, or else the environment, names; None: Amazon's, or a profile's."""
    if remote.endpoint is not None:
        return remote.endpoint
    if variable := next((name for name in _ENDPOINT_VARIABLES if os.environ.get(name)), None):
        check_endpoint(os.environ[variable], variable)
        return os.environ[variable]
    if scheme_of(remote.uri) == "minio":
        raise InputError(
            f"{remote.uri}: set AWS_ENDPOINT_URL_S3 to the address of the store, for example http://host:9000"
        )
    return None


@cache
def _session(_who: int, _pid: int) -> Any:
    from boto3.session import Session

    return Session()


@cache
def _client(endpoint: str | None, region: str | None, seconds: tuple[int, int], who: int, pid: int) -> Any:
    from botocore.config import Config

    session = _session(who, pid)

    def made(style: str) -> Any:
        config = Config(
            s3={"addressing_style": style},  # type: ignore[arg-type]
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=seconds[0],
            read_timeout=seconds[1],
            max_pool_connections=CONNECTIONS,
            # boto3's default checksum trailers are refused by older S3-compatible stores; s3_upload sends headers
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # a company's proxy cannot reach this machine
            proxies={} if endpoint and urlsplit(endpoint).hostname in _LOOPBACK else None,
        )
        place = region or os.environ.get("AWS_REGION") or session.region_name or "us-east-1"
        return session.client("s3", region_name=place, endpoint_url=endpoint, config=config)

    if endpoint is None:
        found = made("auto")
        # a profile may name an endpoint too
        check_endpoint(found.meta.endpoint_url, "endpoint_url of the AWS profile")
        if _is_aws(found.meta.endpoint_url):
            return found
    return made("auto" if endpoint is not None and _is_aws(endpoint) else "path")


def _is_aws(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
