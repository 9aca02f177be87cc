"""Calls of HTTP APIs with the standard library alone: JSON out and in, no redirects, and no address in an error.

An address may be a secret (a webhook's is), so what goes wrong is said without it.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from sharpen.http_api import ApiError, Server, parse_refusal

# no answer that is read here is larger
_MOST_BYTES = 2**22


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """A redirect is a refusal: what was sent may not go elsewhere."""
        return


_opener = urllib.request.build_opener(_NoRedirect)


def request(
    method: str,
    url: str,
    data: bytes | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    seconds: float,
    whole_seconds: float | None = None,
) -> bytes:
    """The content of an answer.

    Args:
        method: such as ``POST``.
        url: http or https.
        data: content to send.
        headers: of the request.
        seconds: that the server has for each part of its answer.
        whole_seconds: that it has for all of it; None: any time.

    Raises:
        ApiError: a refusal; status 0: no answer, or `url` is no address.
    """
    if url.partition("://")[0].lower() not in ("http", "https"):
        raise ApiError(400, "the address does not begin with https:// or http://")
    try:
        made = urllib.request.Request(url, data, dict(headers or {}), method=method)  # noqa: S310 - checked above
        with _opener.open(made, timeout=seconds) as answer:
            if whole_seconds is None:
                return answer.read(_MOST_BYTES)
            return _read_within(answer, time.monotonic() + whole_seconds)
    except urllib.error.HTTPError as error:
        with error:
            raise parse_refusal(error.code, str(error.reason), error.read(2**16), dict(error.headers)) from None
    except urllib.error.URLError as error:
        raise ApiError(0, str(error.reason)) from None
    except (http.client.InvalidURL, ValueError):
        raise ApiError(400, "the address cannot be used") from None
    except (OSError, http.client.HTTPException) as error:
        raise ApiError(0, str(error) or type(error).__name__) from None


def _read_within(answer: http.client.HTTPResponse, end: float) -> bytes:
    """The content of an answer that is whole by a time of the monotonic clock. Raises TimeoutError."""
    parts = []
    while len(part := answer.read1(2**16)):
        parts.append(part)
        if time.monotonic() > end:
            raise TimeoutError("the answer came too slowly")
        if sum(map(len, parts)) > _MOST_BYTES:
            break
    return b"".join(parts)[:_MOST_BYTES]


class JsonApi:
    """An API that takes and gives JSON objects.

    Args:
        server: its name, and how long it is waited for.
        address: what the paths of its calls are put after.
        headers: of every call, such as the one that says who calls.
    """

    def __init__(self, server: Server, address: str, headers: Mapping[str, str]) -> None:
        self._server, self._address, self._headers = server, address.rstrip("/"), dict(headers)

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        may_repeat: Callable[[ApiError], bool] = lambda error: error.passing,
    ) -> dict[str, Any]:
        """The answer as an object.

        Args:
            method, path: of the call.
            body: sent as JSON.
            query: added to the path.
            may_repeat: whether the call may be made again after an error.

        Raises:
            ApiError: a refusal, no answer for too long, or one that is no JSON object.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", **self._headers}
        if data is not None:
            headers["Content-Type"] = "application/json"
        url = f"{self._address}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")

        def once(left: float) -> dict[str, Any]:
            text = request(method, url, data, headers=headers, seconds=min(left, 30.0))
            try:
                answer = json.loads(text or b"{}")
            except ValueError:
                answer = None
            if not isinstance(answer, dict):
                raise ApiError(400, "it did not answer with JSON: the address may be wrong, or a page to log in")
            return answer

        return self._server.call(once, may_repeat)
