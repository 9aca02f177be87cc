"""The calls of the Kubernetes API that a job needs, each repeated until it is answered or refused.

Objects are plain values as the API writes them (camelCase), so that nothing depends on the client's own classes, which
differ between its versions. Survived are: rotated tokens (401), conflicts (409), expired versions (410), throttling
(429, Retry-After), server faults (5xx) and broken connections.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

from sharpen import http_api
from sharpen.jobs.kubernetes.connection import access, connect, in_cluster, own_namespace
from sharpen.jobs.kubernetes.errors import KubernetesError, raise_for_status, translate_kubernetes_errors

if TYPE_CHECKING:
    from sharpen.jobs.manifests.kinds import Kind

logger = logging.getLogger(__name__)

Object = dict[str, Any]

CONNECT_SECONDS = 10
READ_SECONDS = 60
# a log or watch without a byte for so long is asked for again
STREAM_SECONDS = 300
# a token that is refused this often in a row is not one that was just rotated
REFUSALS = 4
LONGEST_WAIT = 30.0


class Cluster:
    """The API of the cluster that this pod is in, or that the kubeconfig names.

    Args:
        namespace: namespace of all calls; empty: that of the pod or of the kubeconfig's context.
        patience: seconds for which a call is repeated; None: those of `SHARPEN_API_TIMEOUT`.
        first_wait: seconds before the second try; they double from there, up to half a minute.

    Raises:
        InputError: neither in a pod nor a usable kubeconfig.
    """

    read_seconds = READ_SECONDS

    def __init__(self, namespace: str = "", *, patience: float | None = None, first_wait: float = 0.5) -> None:
        # a pod knows the address from the cluster; that in a kubeconfig may be wrong
        self._server = http_api.Server("the Kubernetes API", in_cluster(), patience, first_wait, LONGEST_WAIT)
        # The client's own log repeats whole responses.
        logging.getLogger("kubernetes").setLevel(logging.WARNING)
        self.renew()
        self.namespace = namespace or own_namespace()

    def in_namespace(self, namespace: str) -> Cluster:
        """The same API, as another namespace sees it."""
        other = copy(self)
        other.namespace = namespace
        return other

    # jobs

    def create_job(self, kind: Kind, manifest: Object) -> Object:
        """Create a job. Raises KubernetesError 409 AlreadyExists, or for anything that does not pass."""
        return self.request("POST", self._jobs(kind), manifest)

    def get_job(self, kind: Kind, name: str) -> Object | None:
        """A job, or None if there is none."""
        return self.read(f"{self._jobs(kind)}/{name}")

    def list_jobs(self, kind: Kind, labels: str) -> list[Object]:
        """Jobs with these labels; none if the cluster does not know the kind."""
        listed = self.read(self._jobs(kind), labelSelector=labels)
        return listed["items"] if listed else []

    def delete_job(self, kind: Kind, name: str, uid: str = "", *, wait_for_pods: bool = False) -> bool:
        """Delete a job; False if there was none, or one with another uid.

        Args:
            kind: the job's kind.
            name: its name.
            uid: delete only this very object.
            wait_for_pods: let the job's object stay until its pods are gone.
        """
        path, options = self.deletion(kind, name, uid)
        if wait_for_pods:
            options["propagationPolicy"] = "Foreground"
        try:
            self.request("DELETE", path, options, repeat_conflicts=False)
        except KubernetesError as error:
            # 409: the precondition does not hold, so it is another object
            if error.status in (404, 409):
                return False
            raise
        return True

    def deletion(self, kind: Kind, name: str, uid: str = "") -> tuple[str, Object]:
        """Path and body of the request that deletes a job, whose pods then go by themselves; see `delete_job`."""
        options: Object = {"propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        return f"{self._jobs(kind)}/{name}", options

    def wait_for_change(self, kind: Kind, job: Object, seconds: int) -> None:
        """Return when a job changed after this version of it, or after some seconds.

        Nothing is promised beyond that: whoever waits looks at the job again.

        Args:
            kind: the job's kind.
            job: the job as it was read last.
            seconds: longest wait.
        """
        meta = job["metadata"]
        query = {
            "fieldSelector": f"metadata.name={meta['name']}",
            "resourceVersion": meta["resourceVersion"],
            "timeoutSeconds": str(seconds),
            "watch": "true",
        }
        with self._stream(self._jobs(kind), query, seconds + 5) as lines:
            next(lines, None)

    # pods

    def pod(self, name: str) -> Object | None:
        """A pod, or None if there is none."""
        return self.read(f"{self.path()}/pods/{name}")

    def pods(self, labels: str) -> list[Object]:
        """Pods with these labels, by name."""
        listed = self.request("GET", f"{self.path()}/pods", query={"labelSelector": labels})
        return sorted(listed["items"], key=lambda pod: pod["metadata"]["name"])

    def warnings(self) -> list[Object]:
        """The namespace's events of type Warning; none where they may not be read."""
        query = {"fieldSelector": "type=Warning", "limit": "500"}
        try:
            return self.request("GET", f"{self.path()}/events", query=query)["items"]
        except KubernetesError as error:
            if error.status == 403:
                return []
            raise

    def log_lines(self, pod: str, container: str, last: int | None = None, *, previous: bool = False) -> list[str]:
        """What a container wrote; none where there is no log any more. Asked once, without patience.

        Args:
            pod: the pod.
            container: its container.
            last: only so many lines, the last ones.
            previous: of the container's start before the present one.
        """
        query = {"container": container, **({"previous": "true"} if previous else {})}
        if last is not None:
            query["tailLines"] = str(last)
        try:
            with self._stream(f"{self.path()}/pods/{pod}/log", query, self.read_seconds) as written:
                return list(written)
        except KubernetesError as error:
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
            KubernetesError: on entry or while reading; nothing is repeated here.
        """
        query = {"container": container, "follow": "true", "timestamps": "true"}
        if since_seconds is not None:
            query["sinceSeconds"] = str(since_seconds)
        with self._stream(f"{self.path()}/pods/{pod}/log", query, STREAM_SECONDS) as lines:
            yield lines

    # how calls are made

    def path(self, api: str = "") -> str:
        """Where the namespace's objects of ``group/version`` are in the API; empty: of the core."""
        return f"{f'/apis/{api}' if api else '/api/v1'}/namespaces/{self.namespace}"

    def read(self, path: str, **query: str) -> Any:
        """The API's answer to GET; None if nothing is there."""
        try:
            return self.request("GET", path, query=query)
        except KubernetesError as error:
            if error.status == 404:
                return None
            raise

    def request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        query: Mapping[str, str] | None = None,
        repeat_conflicts: bool = True,
    ) -> Any:
        """The API's answer, repeated until there is one or patience ends.

        Args:
            method: HTTP method.
            path: of the API, from its root.
            body: JSON to send.
            query: parameters, as the API names them.
            repeat_conflicts: whether a conflict (409) passes.

        Raises:
            KubernetesError: a refusal, or no answer for too long.
        """
        refused = 0

        def once(seconds: float) -> Any:
            nonlocal refused
            try:
                with translate_kubernetes_errors():
                    response = self._send(method, path, body, query or {}, min(self.read_seconds, seconds))
                    return json.loads(response.data)
            except KubernetesError as error:
                refused = refused + 1 if error.status == 401 else 0
                if refused:
                    self.renew()
                raise

        def may_repeat(error: http_api.ApiError) -> bool:
            if error.status == 409 and not repeat_conflicts:
                return False
            return error.passing and refused < REFUSALS

        return self._server.call(once, may_repeat)

    def renew(self) -> None:
        """Connect anew, with the token as it is now."""
        from kubernetes.dynamic import DynamicClient

        # no discovery: paths are written here. Its `request` is the one plain call that all versions of the client have
        self._api = connect()
        self._client = DynamicClient(self._api, discoverer=lambda *_: None)

    def access(self) -> Object | None:
        """How another process reaches the API; see `connection.access`."""
        return access(self._api)

    def _send(self, method: str, path: str, body: Object | None, query: Mapping[str, str], seconds: float) -> Any:
        response = self._client.request(
            method,
            path,
            body=body,
            query_params=list(query.items()),
            header_params={"Accept": "application/json", "Content-Type": "application/json"},
            serialize=False,
            _request_timeout=(min(CONNECT_SECONDS, seconds), seconds),
        )
        raise_for_status(response)
        return response

    @contextmanager
    def _stream(self, path: str, query: Mapping[str, str], seconds: float) -> Iterator[Iterator[str]]:
        with translate_kubernetes_errors(), closing(self._send("GET", path, None, query, seconds)) as response:
            yield _lines(response)

    def _jobs(self, kind: Kind) -> str:
        return f"{self.path(kind.api_version)}/{kind.plural}"


def _lines(response: Any) -> Iterator[str]:
    """Whole lines as they come; the API streams in chunks, which end anywhere."""
    rest = b""
    for chunk in response.stream(2**16):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")
