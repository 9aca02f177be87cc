"""Calls of the Kubeflow Pipelines API: each answered with plain values, or refused in one line.

The requests are made by kfp's generated client; its answers are read here, since that client takes a login page for an
empty object. Only calls that may take effect twice without harm are repeated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from pipeline.cluster.api.errors import KfpError, SignInNeeded, explained, from_answer, from_network
from sharpen import http_api, retry
from sharpen.errors import InputError, SharpenError, StepFailed

if TYPE_CHECKING:
    from kfp_server_api import ApiClient

Object = dict[str, Any]
T = TypeVar("T")

CONNECT_SECONDS = 10
READ_SECONDS = 60
PAGE_SIZE = 100
FIRST_WAIT = 0.5
LONGEST_WAIT = 15.0
# of a step's log its end is read, and not for longer than this
LOG_BYTES = 256 * 1024
LOG_SECONDS = 10.0


class Api:
    """A Kubeflow Pipelines API.

    Args:
        client: kfp's generated client, with address and credentials.
        endpoint: the address, for messages.
        ui: address of Kubeflow's pages; empty: the endpoint, if it serves them.
        credential_source: where the credentials came from, for messages.
        sign_in: gets new session cookies; None where there is no such way.
    """

    def __init__(
        self, client: ApiClient, *, endpoint: str, ui: str, credential_source: str, sign_in: Callable[[], str] | None
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
        self._client, self._credential_source, self._sign_in = client, credential_source, sign_in
        self._server = http_api.Server("the Kubeflow Pipelines API", False, None, FIRST_WAIT, LONGEST_WAIT)
        if sign_in:
            client.cookie = sign_in()  # type: ignore[assignment]

    def call(self, what: str, method: Callable[..., Any], **arguments: Any) -> Object:
        """A call that may be repeated: one that reads, or that has the same effect twice as once.

        Args:
            what: the call in words, as it follows "cannot".
            method: method of one of the generated services.
            arguments: its arguments; those that are None are left out.

        Raises:
            KfpError: the object does not exist (404), exists already (409), or the request is wrong (400).
            SharpenError: refused for another reason, or not answered for too long.
        """
        return self._named(what, lambda: self._repeated(method, arguments, lambda fault: fault.passing))

    def call_without_retry(self, what: str, method: Callable[..., Any], **arguments: Any) -> Object:
        """A call that must not take effect twice: it is repeated while no connection is made; otherwise as `call`.

        Raises:
            KfpError: also with status 0, 429 or 5xx: no answer, so the call may have taken effect.
        """
        return self._named(
            what, lambda: self._repeated(method, arguments, lambda fault: fault.unsent), passing_too=True
        )

    def paginate(self, what: str, key: str, method: Callable[..., Any], **arguments: Any) -> Iterator[Object]:
        """The objects of a list, over all its pages.

        Args:
            what: as in `call`.
            key: name of the list in the answer.
            method: as in `call`.
            arguments: as in `call`.
        """
        token: str | None = None
        while True:
            page = self.call(what, method, page_token=token, page_size=PAGE_SIZE, **arguments)
            yield from page.get(key) or []
            token = page.get("next_page_token") or None
            if token is None:
                return

    @contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """For how long calls are repeated inside this block, instead of the seconds in `SHARPEN_API_TIMEOUT`."""
        before, self._server.patience = self._server.patience, seconds
        try:
            yield
        finally:
            self._server.patience = before

    def explained(self, fault: KfpError) -> SharpenError:
        """The fault as a line for the user."""
        if self._server.is_known and fault.status == 0 and fault.passing:
            return StepFailed(retry.explain(fault, f"{self.endpoint}: {fault.message} (cannot {fault.action})"))
        return explained(fault, f"cannot {fault.action}", self.endpoint, self._credential_source)

    @property
    def serves_pages(self) -> bool:
        """Whether the endpoint is the server of Kubeflow's pages, which passes on what is for the API."""
        return "apiServerReady" in self.served or "frontendTagName" in self.served

    def link(self, kind: str, identity: str) -> str:
        """Address of the page that shows a run (``runs``) or a schedule (``recurringrun``).

        Where the endpoint is the API itself, and nobody said where the pages are: how to say it.
        """
        pages = self.ui or (self.endpoint if self.serves_pages else "")
        if not pages:
            return "in Kubeflow's pages; name their address with --ui or KFP_UI_ENDPOINT for a link"
        return f"{pages}/#/{kind}/details/{identity}"

    def read_log(self, run: str, node: str, day: str) -> str:
        """The end of the log of a step's pod, also out of the archive; asked once.

        Args:
            run: id of the run.
            node: name of the pod, or what the server takes for it.
            day: on which the run was made, as ``2026-01-31``.

        Raises:
            KfpError: there is no such log, or the server does not answer.
        """
        path, query = f"/apis/v1alpha1/runs/{quote(run)}/nodes/{quote(node)}/log", []
        if self.serves_pages:
            # they pass on no other calls than those of v2beta1
            query = [("podname", node), ("runid", run), ("createdat", day), ("podnamespace", self.namespace)]
            path = "/k8s/pod/logs"
        return self._once(lambda: self._tail(path, [(name, value) for name, value in query if value]))

    def _named(self, what: str, call: Callable[[], Object], *, passing_too: bool = False) -> Object:
        try:
            return call()
        except KfpError as fault:
            fault.action = what
            if fault.status in (400, 404, 409) or (passing_too and fault.passing):
                raise
            raise self.explained(fault) from None

    def _repeated(self, method: Callable[..., Any], arguments: Object, may_repeat: Callable[[Any], bool]) -> Object:
        def answer(seconds: float) -> Object:
            return self._once(lambda: self._answer(method, arguments, min(READ_SECONDS, seconds)))

        return self._server.call(answer, may_repeat)

    def _once(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except KfpError as fault:
            if self._sign_in is None or not (fault.status == 401 or isinstance(fault, SignInNeeded)):
                raise
            # the session has ended; it was refused before it had an effect, so every call may be made again
            self._client.cookie = self._sign_in()  # type: ignore[assignment]
            return call()

    @staticmethod
    def _answer(method: Callable[..., Any], arguments: Object, seconds: float) -> Object:
        given = {name: value for name, value in arguments.items() if value is not None}
        with _translated_errors():
            timeouts = (min(CONNECT_SECONDS, seconds), seconds)
            response = method(**given, _preload_content=False, _request_timeout=timeouts)
            body, kind = response.data.decode(errors="replace"), response.headers.get("content-type", "")
        if "html" in kind or body.lstrip()[:1] == "<":
            raise SignInNeeded(200, "a page instead of an answer")
        try:
            value = json.loads(body or "{}")
        except ValueError:
            raise KfpError(0, "the answer was cut off") from None
        if not isinstance(value, dict):
            raise KfpError(0, "the answer is not one of Kubeflow Pipelines")
        return value

    def _tail(self, path: str, query: list[tuple[str, str]]) -> str:
        """The last bytes of a text, which may be long and may go on while it is read."""
        from urllib3.exceptions import HTTPError

        tail, deadline = bytearray(), time.monotonic() + LOG_SECONDS
        with _translated_errors():
            response: Any = self._client.call_api(
                *(path, "GET", {}, query, {"Accept": "text/plain"}),
                auth_settings=["Bearer"],
                _preload_content=False,
                _request_timeout=(CONNECT_SECONDS, LOG_SECONDS),
            )
            with closing(response):
                if "html" in response.headers.get("content-type", ""):
                    raise SignInNeeded(200, "a page instead of a log")
                try:
                    for chunk in response.stream(2**14):
                        tail += chunk
                        del tail[:-LOG_BYTES]
                        if time.monotonic() > deadline:
                            break
                except (HTTPError, OSError):
                    if not tail:
                        raise
        return tail.decode(errors="replace")


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Errors of the generated client and of the connection as `KfpError`."""
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        if not error.status:
            raise from_network(error) from None
        raise from_answer(error.status, error.reason or "", error.body, dict(error.headers or {})) from None
    except (FileNotFoundError, PermissionError) as error:
        raise InputError(f"{error.filename}: the token there cannot be read any more ({error.strerror})") from None
    except (HTTPError, OSError) as error:
        raise from_network(error) from None
    except UnicodeDecodeError:
        raise KfpError(0, "the answer is no text") from None
    except AttributeError as error:
        # the generated client decodes the body of every fault, and one of TLS has none
        if isinstance(error.__context__, ApiException):
            raise from_network(error.__context__) from None
        raise


def equals_filter(key: str, value: str) -> str:
    """The filter that keeps what has this value.

    It is percent-encoded here although the client encodes it too: the server decodes it once more than HTTP does.
    """
    return quote(json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "string_value": value}]}))
