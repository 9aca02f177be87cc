"""What the Kubernetes API answers when it does not do what it is asked: one error, whatever the client's version."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sharpen.errors import StepFailed

# 0: no connection
_PASSING = (0, 408, 410, 425, 429, 500, 502, 503, 504)


class ApiError(Exception):
    """The API refused a call, or could not be reached (status 0)."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message, self.retry_after = status, reason, message, retry_after

    @property
    def passing(self) -> bool:
        """True if the same call may succeed later."""
        return self.status in (401, *_PASSING) or (self.status == 409 and self.reason != "AlreadyExists")


def explained(error: ApiError, what: str) -> StepFailed:
    """A call that was refused for good, in one line with what to do."""
    hints = {
        0: "the API server cannot be reached",
        401: "the service account's token is refused",
        403: "the step's service account needs the rights in k8s/, or a quota or admission rule says no",
        404: "the cluster does not know this kind; install its operator or choose another job.backend",
        422: "the cluster refuses the manifest",
    }
    hint = f" ({hints[error.status]})" if error.status in hints else ""
    return StepFailed(f"{what}: {error.message}{hint}")


@contextmanager
def as_api_errors() -> Iterator[None]:
    """Turn the client's and the connection's errors within the block into `ApiError`."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise _from_body(error.status or 0, error.body, error.reason, dict(error.headers or {})) from None
    except (HTTPError, OSError) as error:
        raise ApiError(0, type(error).__name__, str(error)) from None


def raise_for_status(response: Any) -> None:
    """Raise ApiError for a plain response that is a refusal; the client does so by itself in some versions only."""
    if response.status >= 400:
        raise _from_body(response.status, response.data, response.reason, dict(response.headers))


def _from_body(status: int, body: bytes | str | None, reason: str | None, headers: dict[str, str]) -> ApiError:
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        said = json.loads(text)
    except ValueError:
        said = {}
    if not isinstance(said, dict):
        said = {}
    named = {name.lower(): value for name, value in headers.items()}
    asked = named.get("retry-after") or (said.get("details") or {}).get("retryAfterSeconds") or 0
    seconds = float(asked) if str(asked).replace(".", "", 1).isdigit() else 0.0
    return ApiError(status, said.get("reason") or reason or "", said.get("message") or text[:500], seconds)
