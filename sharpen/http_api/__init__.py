"""What the HTTP APIs of Kubernetes and Kubeflow Pipelines answer: one error for refusals, one way to repeat."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from sharpen import retry

T = TypeVar("T")

#: for how many seconds a call is repeated
TIMEOUT_VARIABLE = "SHARPEN_API_TIMEOUT"
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
    seconds = float(wait) if wait.replace(".", "", 1).isdigit() else _until(wait)
    return ApiError(status, message or reason, str(answer.get("reason") or reason), seconds, answer)


@dataclass
class Server:
    """An API, and how long it is waited for when it does not answer.

    Attributes:
        name: in words.
        is_known: it has answered, or its address cannot be wrong.
        patience: seconds for which a call is repeated; None: those of `SHARPEN_API_TIMEOUT`.
        first_pause: longest pause before the second try, in seconds; it doubles from there.
        longest_pause: longest pause between tries, unless the server asks for more.
    """

    name: str
    is_known: bool
    patience: float | None
    first_pause: float
    longest_pause: float

    def call(self, request: Callable[[float], T], may_repeat: Callable[[ApiError], bool]) -> T:
        """The API's answer.

        Args:
            request: makes the call; takes the seconds that are left for it.
            may_repeat: whether it may be made again after an error.

        Raises:
            ApiError: a refusal, or no answer for too long.
        """
        budget = retry.budget_seconds(TIMEOUT_VARIABLE) if self.patience is None else self.patience

        def patience(error: Exception) -> float | None:
            if not isinstance(error, ApiError):
                return None
            self.is_known |= error.status > 0
            if not may_repeat(error):
                return None
            return budget if self.is_known else min(budget, retry.FIRST_CONTACT_SECONDS)

        answer = retry.repeat(
            lambda left: request(max(1.0, left)),
            self.name,
            patience,
            budget,
            first_pause=self.first_pause,
            longest_pause=self.longest_pause,
        )
        self.is_known = True
        return answer


def _until(date: str) -> float:
    """Seconds until a date as HTTP writes it; 0 for none, and for one that has passed."""
    try:
        return max(0.0, (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def _mapping(value: Any) -> Mapping[str, Any]:
    # Kubeflow's details are a list
    return value if isinstance(value, Mapping) else {}
