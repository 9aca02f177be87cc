"""A small Kubernetes API on loopback: objects with uid and resourceVersion, selectors, watches, logs, and misbehaviour.

It speaks real HTTP to the real client. It knows no kinds: whatever is stored under a group and plural is served.
Objects of no namespace are stored under the namespace "".
"""

from __future__ import annotations

import ssl
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.sharpen.jobs.fake_handler import ApiHandler, Call, Object

__all__ = ["Call", "FakeApi", "Fault", "Object"]


@dataclass
class Fault:
    """What is answered instead of the truth.

    Attributes:
        verb, resource: which calls; empty: any.
        times: how often.
        status: HTTP status; 0: the connection is cut.
        reason, message: of the Status object.
        headers: of the answer.
        done: the call takes effect all the same, only its answer is lost.
        after_lines: of a stream: cut it after so many lines.
        event: of a watch: this is its first event.
    """

    verb: str = ""
    resource: str = ""
    times: int = 1
    status: int = 500
    reason: str = "InternalError"
    message: str = "made by the test"
    headers: dict[str, str] = field(default_factory=dict)
    done: bool = False
    after_lines: int | None = None
    event: Object | None = None


class FakeApi:
    """The server; use as a context manager. Objects may be changed by tests while it serves."""

    newest: FakeApi

    def __init__(self, token: str = "first-token", tls: ssl.SSLContext | None = None) -> None:
        self.tokens = {token}
        self.objects: dict[tuple[str, str, str], dict[str, Object]] = {}
        self.known = {
            ("", "pods"),
            ("", "events"),
            ("kubeflow.org", "pytorchjobs"),
            ("trainer.kubeflow.org", "trainjobs"),
        }
        self.logs: dict[str, list[tuple[str, str]]] = {}
        self.old_logs: dict[str, list[tuple[str, str]]] = {}
        self.faults: list[Fault] = []
        self.calls: list[Call] = []
        self.moments: list[float] = []
        self.scheme = "https" if tls else "http"
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.dry_runs: list[Object] = []
        self.forbidden: set[Call] = set()
        self.versions = {"kubeflow.org": ["v1"], "trainer.kubeflow.org": ["v1alpha1"]}
        self.services: dict[str, Any] = {}
        self.rights: Callable[[str, dict[str, str]], bool] = lambda user, call: True
        self.on_create: Callable[[Object], None] = lambda _: None
        self.changed = threading.Condition(threading.RLock())
        self.closing = False
        self._version = 100
        self._stamp = 0

        api = self

        class Handler(ApiHandler):
            server_api = api

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)

    def __enter__(self) -> FakeApi:
        FakeApi.newest = self
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        self.server.shutdown()
        self.server.server_close()

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    def kubeconfig(self, folder: Path, namespace: str = "team") -> Path:
        """A kubeconfig for it in the folder, beside the file that the token is read from, and ``ca.crt`` with TLS."""
        token = folder / "token"
        token.write_text(next(iter(self.tokens)))
        cluster = {"server": f"{self.scheme}://127.0.0.1:{self.port}"}
        if self.scheme == "https":
            cluster["certificate-authority"] = str(folder / "ca.crt")
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"tokenFile": str(token)}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
            "current-context": "x",
        }
        file = folder / "kubeconfig"
        file.write_text(yaml.safe_dump(config))
        return file

    # what tests do to it

    def put(self, group: str, plural: str, found: Object) -> Object:
        """Store an object, new or in place of the one of its name."""
        with self.changed:
            self._version += 1
            meta = found["metadata"]
            meta.setdefault("namespace", "team")
            meta.setdefault("uid", str(uuid.uuid4()))
            meta["resourceVersion"] = str(self._version)
            self.objects.setdefault((group, plural, meta["namespace"]), {})[meta["name"]] = found
            self.changed.notify_all()
            return found

    def change(self, group: str, plural: str, name: str, act: Callable[[Object], object]) -> None:
        """Change a stored object."""
        with self.changed:
            found = self.objects[group, plural, "team"][name]
            act(found)
            self.put(group, plural, found)

    def remove(self, group: str, plural: str, name: str, namespace: str = "team") -> None:
        """Take an object away."""
        with self.changed:
            self._version += 1
            self.objects[group, plural, namespace].pop(name, None)
            self.changed.notify_all()

    def clear(self) -> None:
        """Take every object away."""
        with self.changed:
            self._version += 1
            self.objects.clear()
            self.changed.notify_all()

    def get(self, group: str, plural: str, name: str, namespace: str = "team") -> Object | None:
        """A stored object."""
        with self.changed:
            return self.objects.get((group, plural, namespace), {}).get(name)

    def all(self, group: str, plural: str, namespace: str = "team") -> list[Object]:
        """All stored objects of a kind."""
        with self.changed:
            return list(self.objects.get((group, plural, namespace), {}).values())

    def write(self, pod: str, *lines: str, stamp: str = "") -> None:
        """Let a pod write lines of output; without a stamp each has a time of its own."""
        with self.changed:
            for line in lines:
                self._stamp += 1
                at = f"2026-11-21T08:{self._stamp // 60:02}:{self._stamp % 60:02}"
                # fractions as the API writes them: of any length
                self.logs.setdefault(pod, []).append((stamp or f"{at}.{'5' * (1 + self._stamp % 9)}Z", line))
            self.changed.notify_all()

    def wait_for(self, what: Callable[[], Any], seconds: float = 20.0) -> Any:
        """Until something is true; its value."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while not (value := what()):
                left = deadline - time.monotonic()
                assert left > 0, f"the test waited in vain; calls were {self.calls[-20:]}"
                self.changed.wait(min(left, 0.05))
            return value

    def count(self, verb: str, resource: str) -> int:
        """How often a call was made."""
        with self.changed:
            return sum(call.verb == verb and call.resource == resource for call in self.calls)

    # how it answers

    def take_fault(self, call: Call) -> Fault | None:
        with self.changed:
            for fault in self.faults:
                if fault.times and fault.verb in ("", call.verb) and fault.resource in ("", call.resource):
                    fault.times -= 1
                    return fault
        return None

    def version(self) -> str:
        return str(self._version)
