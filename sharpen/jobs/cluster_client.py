"""The calls of the Kubernetes API that a job needs, each repeated until it is answered or refused.

Objects are plain values as the API writes them (camelCase), so that nothing depends on the client's own classes, which
differ between its versions. Survived are: rotated tokens (401), conflicts (409), expired versions (410), throttling
(429, Retry-After), server faults (5xx) and broken connections.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any, TypeVar

from sharpen.jobs.api_errors import ApiError, as_api_errors, raise_for_status
from sharpen.jobs.connection import connect, own_namespace

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from sharpen.jobs.kinds import Kind

logger = logging.getLogger(__name__)

Object = dict[str, Any]
T = TypeVar("T")

CONNECT_SECONDS = 10
READ_SECONDS = 60
# a log or watch without a byte for so long is asked for again
STREAM_SECONDS = 300
# a token that is refused this often in a row is not one that was just rotated
REFUSALS = 4


class Cluster:
    """The API of the cluster that this pod is in, or that the kubeconfig names.

    Args:
        namespace: namespace of all calls; empty: that of the pod or of the kubeconfig's context.
        patience: seconds for which a call is repeated.
        first_wait: seconds before the second try; they double from there, up to half a minute.

    Raises:
        InputError: neither in a pod nor a usable kubeconfig.
    """

    def __init__(self, namespace: str = "", *, patience: float = 900.0, first_wait: float = 0.5) -> None:
        self._patience, self._first_wait = patience, first_wait
        # The client's own log repeats whole responses.
        logging.getLogger("kubernetes").setLevel(logging.WARNING)
        self._client = connect()
        self.namespace = namespace or own_namespace()

    def beside(self, namespace: str) -> Cluster:
        """The same API, as another namespace sees it."""
        other = copy(self)
        other.namespace = namespace
        return other

    # jobs

    def create_job(self, kind: Kind, manifest: Object) -> Object:
        """Create a job. Raises ApiError 409 AlreadyExists, or for anything that does not pass."""
        return self._call(
            lambda api: api.CustomObjectsApi(self._client).create_namespaced_custom_object(
                kind.group, kind.version, self.namespace, kind.plural, manifest, **_PLAIN
            )
        )

    def get_job(self, kind: Kind, name: str) -> Object | None:
        """A job, or None if there is none."""
        return _or_none(
            lambda: self._call(
                lambda api: api.CustomObjectsApi(self._client).get_namespaced_custom_object(
                    kind.group, kind.version, self.namespace, kind.plural, name, **_PLAIN
                )
            )
        )

    def list_jobs(self, kind: Kind, labels: str) -> list[Object]:
        """Jobs with these labels; none if the cluster does not know the kind."""
        found = _or_none(
            lambda: self._call(
                lambda api: api.CustomObjectsApi(self._client).list_namespaced_custom_object(
                    kind.group, kind.version, self.namespace, kind.plural, label_selector=labels, **_PLAIN
                )
            )
        )
        return found["items"] if found else []

    def delete_job(self, kind: Kind, name: str, uid: str = "", *, wait_for_pods: bool = False) -> bool:
        """Delete a job; False if there was none, or one with another uid.

        Args:
            kind: the job's kind.
            name: its name.
            uid: delete only this very object.
            wait_for_pods: let the job's object stay until its pods are gone.
        """

        def delete(api: Any) -> Any:
            options = api.V1DeleteOptions(
                propagation_policy="Foreground" if wait_for_pods else "Background",
                preconditions=api.V1Preconditions(uid=uid) if uid else None,
            )
            return api.CustomObjectsApi(self._client).delete_namespaced_custom_object(
                kind.group, kind.version, self.namespace, kind.plural, name, body=options, **_PLAIN
            )

        try:
            self._call(delete, passing=lambda error: error.passing and error.status != 409)
        except ApiError as error:
            # 409: the precondition does not hold, so it is another object
            if error.status in (404, 409):
                return False
            raise
        return True

    def wait_for_change(self, kind: Kind, job: Object, seconds: int) -> None:
        """Return when a job changed after this version of it, or after some seconds.

        Nothing is promised beyond that: whoever waits looks at the job again.
        """
        from kubernetes import client as api

        meta = job["metadata"]
        with as_api_errors():
            stream = api.CustomObjectsApi(self._client).list_namespaced_custom_object(
                kind.group,
                kind.version,
                self.namespace,
                kind.plural,
                field_selector=f"metadata.name={meta['name']}",
                resource_version=meta["resourceVersion"],
                timeout_seconds=seconds,
                watch=True,
                _preload_content=False,
                _request_timeout=(CONNECT_SECONDS, seconds + 5),
            )
            with closing(stream):
                raise_for_status(stream)
                next(_lines(stream), None)

    # pods

    def pod(self, name: str) -> Object | None:
        """A pod, or None if there is none."""
        return _or_none(
            lambda: self._call(
                lambda api: api.CoreV1Api(self._client).read_namespaced_pod(name, self.namespace, **_PLAIN)
            )
        )

    def pods(self, labels: str) -> list[Object]:
        """Pods with these labels, by name."""
        found = self._call(
            lambda api: api.CoreV1Api(self._client).list_namespaced_pod(self.namespace, label_selector=labels, **_PLAIN)
        )
        return sorted(found["items"], key=lambda pod: pod["metadata"]["name"])

    def warnings(self) -> list[Object]:
        """The namespace's events of type Warning; none where they may not be read."""
        try:
            return self._call(
                lambda api: api.CoreV1Api(self._client).list_namespaced_event(
                    self.namespace, field_selector="type=Warning", limit=500, **_PLAIN
                )
            )["items"]
        except ApiError as error:
            if error.status == 403:
                return []
            raise

    def log_tail(self, pod: str, container: str, lines: int, *, previous: bool = False) -> list[str]:
        """The last lines that a container wrote; none where there is no log any more. Asked once, without patience."""
        from kubernetes import client as api

        try:
            with as_api_errors():
                response = api.CoreV1Api(self._client).read_namespaced_pod_log(
                    pod, self.namespace, container=container, tail_lines=lines, previous=previous, **_PLAIN
                )
                raise_for_status(response)
                return response.data.decode(errors="replace").splitlines()
        except ApiError as error:
            logger.debug("no log of %s: %s", pod, error)
            return []

    @contextmanager
    def log(self, pod: str, container: str, since_seconds: int | None) -> Iterator[Iterator[str]]:
        """A container's output, line by line as it is written, each after its time (RFC 3339) and a space.

        Args:
            pod: the pod.
            container: its container.
            since_seconds: how far back to begin; None: at the beginning.

        Raises:
            ApiError: on entry or while reading; nothing is repeated here.
        """
        from kubernetes import client as api

        options = {} if since_seconds is None else {"since_seconds": since_seconds}
        with as_api_errors():
            response = api.CoreV1Api(self._client).read_namespaced_pod_log(
                pod,
                self.namespace,
                container=container,
                follow=True,
                timestamps=True,
                _preload_content=False,
                _request_timeout=(CONNECT_SECONDS, STREAM_SECONDS),
                **options,
            )
            with closing(response):
                raise_for_status(response)
                yield _lines(response)

    # how calls are made

    def renew(self) -> None:
        """Connect anew, with the token as it is now."""
        self._client = connect()

    def _call(self, call: Callable[[Any], Any], passing: Callable[[ApiError], bool] | None = None) -> Any:
        from tenacity import Retrying, retry_if_exception

        is_passing = passing or (lambda error: error.passing)
        refused = 0

        def once() -> Any:
            nonlocal refused
            from kubernetes import client as api

            try:
                with as_api_errors():
                    response = call(api)
                    raise_for_status(response)
                    return json.loads(response.data)
            except ApiError as error:
                refused = refused + 1 if error.status == 401 else 0
                if refused:
                    self.renew()
                raise

        def again(error: BaseException) -> bool:
            return isinstance(error, ApiError) and is_passing(error) and refused < REFUSALS

        retrying = Retrying(
            retry=retry_if_exception(again), stop=self._stop, wait=self._wait, before_sleep=_tell, reraise=True
        )
        return retrying(once)

    def _stop(self, state: RetryCallState) -> bool:
        return (state.seconds_since_start or 0.0) > self._patience

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, ApiError) else 0.0
        grown = min(30.0, self._first_wait * 2 ** min(state.attempt_number - 1, 10))
        # never earlier than the server asked for, and not all launchers at once
        return max(asked, grown / 2) + random.uniform(0, grown / 2)


# Plain responses: the client's own models are not used.
_PLAIN: dict[str, Any] = {"_preload_content": False, "_request_timeout": (CONNECT_SECONDS, READ_SECONDS)}


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if state.attempt_number in (3, 10) and error is not None:
        logger.warning(f"the cluster's API does not answer well ({error}); trying on")


def _or_none(call: Callable[[], T]) -> T | None:
    try:
        return call()
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def _lines(response: Any) -> Iterator[str]:
    """Whole lines as they come; the API streams in chunks, which end anywhere."""
    rest = b""
    for chunk in response.stream(2**16):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")
