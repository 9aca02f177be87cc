"""Calls of the HTTP APIs of Kubernetes and Kubeflow Pipelines: one error for refusals, one way to repeat."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sharpen.console import TO_STDERR

if TYPE_CHECKING:
    from tenacity import RetryCallState

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: answers after which the same call may succeed; 0: no answer
PASSING = (0, 408, 425, 429, 500, 502, 503, 504)


class ApiError(Exception):
    """A call was refused, or not answered.

    Attributes:
        status: HTTP status; 0: no answer came, and the call may or may not have taken effect.
        message: of the server or the network.
        reason: the refusal in a word, where the API has one.
        retry_after: seconds to wait, by the server.
        body: the answer where it was a JSON object, else empty.
    """

    def __init__(
        self,
        status: int,
        message: str,
        reason: str = "",
        retry_after: float = 0.0,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{status} {reason}: {message}" if reason else f"{status} {message}" if status else message)
        self.status, self.message, self.reason, self.retry_after = status, message, reason, retry_after
        self.body = body or {}

    @property
    def passing(self) -> bool:
        """True if the same call may succeed later."""
        return self.status in PASSING


def parse_refusal(status: int, reason: str, body: bytes | str | None, headers: Mapping[str, str]) -> ApiError:
    """The error in an answer whose status is a refusal.

    Args:
        status: of the answer.
        reason: phrase of its status line.
        body: its content; a JSON object in the form of Kubernetes or of Kubeflow Pipelines, or any text.
        headers: its headers.
    """
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = {}
    answer = parsed if isinstance(parsed, dict) else {}
    # Kubeflow's upload has names of its own
    message = str(answer.get("message") or answer.get("error_message") or answer.get("error") or text.strip()[:500])
    named = {name.lower(): value for name, value in headers.items()}
    wait = str(named.get("retry-after") or (_mapping(answer.get("details"))).get("retryAfterSeconds") or "")
    seconds = float(wait) if wait.replace(".", "", 1).isdigit() else 0.0
    return ApiError(status, message or reason, str(answer.get("reason") or reason), seconds, answer)


def repeat(
    call: Callable[[], T],
    may_repeat: Callable[[BaseException], bool],
    *,
    patience: float,
    first_wait: float,
    longest_wait: float,
) -> T:
    """The result of a call, which is made again while it may be.

    Args:
        call: makes the request.
        may_repeat: whether an exception of it passes.
        patience: seconds after which its exception is raised.
        first_wait: longest wait before the second try in seconds; it doubles from there.
        longest_wait: longest wait between tries, unless the server sets more.
    """
    from tenacity import Retrying, retry_if_exception

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        requested = error.retry_after if isinstance(error, ApiError) else 0.0
        grown = min(longest_wait, first_wait * 2 ** min(state.attempt_number - 1, 10))
        # never earlier than the server allows, and not all clients at once
        return max(requested, grown / 2) + random.uniform(0, grown / 2)

    def warn(state: RetryCallState) -> None:
        if state.attempt_number in (3, 10) and state.outcome:
            logger.warning(
                f"warning: the API does not answer well ({state.outcome.exception()}); trying on", extra=TO_STDERR
            )

    retrying = Retrying(
        retry=retry_if_exception(may_repeat),
        stop=lambda state: (state.seconds_since_start or 0.0) > patience,
        wait=wait,
        before_sleep=warn,
        reraise=True,
    )
    return retrying(call)


def _mapping(value: Any) -> Mapping[str, Any]:
    # Kubeflow's details are a list
    return value if isinstance(value, Mapping) else {}
