"""Calls of the Kubeflow Pipelines API: each answered with plain values, or refused in one line.

The requests are made by kfp's generated client; its answers are read here, since that client takes a login page for an
empty object. Only calls that may take effect twice without harm are repeated.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pipeline.cluster.faults import ApiFault, SignInNeeded, explained, from_answer, from_network
from sharpen.errors import InputError, SharpenError

if TYPE_CHECKING:
    from kfp_server_api import ApiClient
    from tenacity import RetryCallState

Object = dict[str, Any]

CONNECT_SECONDS = 10
READ_SECONDS = 60
PATIENCE_SECONDS = 30.0
PAGE_SIZE = 100
FIRST_WAIT = 0.5
LONGEST_WAIT = 15.0


class Api:
    """A Kubeflow Pipelines API.

    Args:
        client: kfp's generated client, with address and credentials.
        endpoint: the address, for messages.
        ui: address of Kubeflow's pages.
        proof: where the credentials came from, for messages.
        sign_in: gets new session cookies; None where there is no such way.
    """

    def __init__(
        self, client: ApiClient, *, endpoint: str, ui: str, proof: str, sign_in: Callable[[], str] | None
    ) -> None:
        import kfp_server_api as kfp

        self.endpoint, self.ui, self.namespace = endpoint, ui, ""
        # what it says of itself: version, one user or several
        self.served: Object = {}
        self.health = kfp.HealthzServiceApi(client)
        self.pipelines = kfp.PipelineServiceApi(client)
        self.uploads = kfp.PipelineUploadServiceApi(client)
        self.experiments = kfp.ExperimentServiceApi(client)
        self.runs = kfp.RunServiceApi(client)
        self.recurring = kfp.RecurringRunServiceApi(client)
        self._client, self._proof, self._sign_in = client, proof, sign_in
        self._patience = PATIENCE_SECONDS
        if sign_in:
            client.cookie = sign_in()  # type: ignore[assignment]

    def ask(self, what: str, method: Callable[..., Any], **arguments: Any) -> Object:
        """A call that may be repeated: one that reads, or that has the same effect twice as once.

        Args:
            what: the call in words, as it follows "cannot".
            method: method of one of the generated services.
            arguments: its arguments; those that are None are left out.

        Raises:
            ApiFault: the object does not exist (404), exists already (409), or the request is wrong (400).
            SharpenError: refused for another reason, or not answered for too long.
        """
        from tenacity import Retrying, retry_if_exception

        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, ApiFault) and error.passing),
            stop=lambda state: (state.seconds_since_start or 0.0) > self._patience,
            wait=_wait,
            before_sleep=_tell,
            reraise=True,
        )
        return self._told(what, lambda: retrying(self._once, method, arguments))

    def ask_once(self, what: str, method: Callable[..., Any], **arguments: Any) -> Object:
        """A call that is never repeated, since it would take effect twice; otherwise as `ask`.

        Raises:
            ApiFault: also with status 0, 429 or 5xx: no answer, so the call may have taken effect.
        """
        return self._told(what, lambda: self._once(method, arguments), passing_too=True)

    def every(self, what: str, key: str, method: Callable[..., Any], **arguments: Any) -> Iterator[Object]:
        """The objects of a list, over all its pages.

        Args:
            what: as in `ask`.
            key: name of the list in the answer.
            method: as in `ask`.
            arguments: as in `ask`.
        """
        token: str | None = None
        while True:
            page = self.ask(what, method, page_token=token, page_size=PAGE_SIZE, **arguments)
            yield from page.get(key) or []
            token = page.get("next_page_token") or None
            if token is None:
                return

    @contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """For how long calls are repeated inside this block."""
        before, self._patience = self._patience, seconds
        try:
            yield
        finally:
            self._patience = before

    def explained(self, fault: ApiFault) -> SharpenError:
        """The fault as a line for the user."""
        return explained(fault, f"cannot {fault.what}", self.endpoint, self._proof)

    def link(self, kind: str, identity: str) -> str:
        """Address of the page that shows a run (``runs``) or a schedule (``recurringrun``)."""
        return f"{self.ui}/#/{kind}/details/{identity}"

    def _told(self, what: str, call: Callable[[], Object], *, passing_too: bool = False) -> Object:
        try:
            return call()
        except ApiFault as fault:
            fault.what = what
            if fault.status in (400, 404, 409) or (passing_too and fault.passing):
                raise
            raise self.explained(fault) from None

    def _once(self, method: Callable[..., Any], arguments: Object) -> Object:
        try:
            return self._answer(method, arguments)
        except ApiFault as fault:
            if self._sign_in is None or not (fault.status == 401 or isinstance(fault, SignInNeeded)):
                raise
            # the session has ended; it was refused before it had an effect, so every call may be made again
            self._client.cookie = self._sign_in()  # type: ignore[assignment]
            return self._answer(method, arguments)

    @staticmethod
    def _answer(method: Callable[..., Any], arguments: Object) -> Object:
        from kfp_server_api import ApiException
        from urllib3.exceptions import HTTPError

        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            response = method(**given, _preload_content=False, _request_timeout=(CONNECT_SECONDS, READ_SECONDS))
            body, kind = response.data.decode(errors="replace"), response.headers.get("content-type", "")
        except ApiException as error:
            if not error.status:
                raise from_network(error) from None
            raise from_answer(error.status, error.reason or "", _text(error.body), dict(error.headers or {})) from None
        except (FileNotFoundError, PermissionError) as error:
            raise InputError(f"{error.filename}: the token there cannot be read any more ({error.strerror})") from None
        except (HTTPError, OSError) as error:
            raise from_network(error) from None
        except UnicodeDecodeError:
            raise ApiFault(0, "the answer is no text") from None
        except AttributeError as error:
            # the generated client decodes the body of every fault, and one of TLS has none
            if isinstance(error.__context__, ApiException):
                raise from_network(error.__context__) from None
            raise
        if "html" in kind or body.lstrip()[:1] == "<":
            raise SignInNeeded(200, "a page instead of an answer")
        try:
            value = json.loads(body or "{}")
        except ValueError:
            raise ApiFault(0, "the answer was cut off") from None
        if not isinstance(value, dict):
            raise ApiFault(0, "the answer is not one of Kubeflow Pipelines")
        return value


def equals(key: str, value: str) -> str:
    """The filter that keeps what has this value.

    It is percent-encoded here although the client encodes it too: the server decodes it once more than HTTP does.
    """
    return quote(json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "string_value": value}]}))


def _text(body: bytes | str | None) -> str:
    return body.decode(errors="replace") if isinstance(body, bytes) else body or ""


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ApiFault) else 0.0
    grown = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(state.attempt_number - 1, 10))
    return max(asked, grown * random.uniform(0.5, 1.0))


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if state.attempt_number in (3, 10):
        print(f"warning: the API does not answer well ({error}); trying on", file=sys.stderr, flush=True)
