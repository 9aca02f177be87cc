"""A small Kubernetes API on loopback: objects with uid and resourceVersion, selectors, watches, logs, and misbehaviour.

It speaks real HTTP to the real client. It knows no kinds: whatever is stored under a group and plural is served.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]

_PATH = re.compile(
    r"^/(?:api/v1|apis/(?P<group>[^/]+)/(?P<version>[^/]+))/namespaces/(?P<namespace>[^/]+)"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+))?)?$"
)


class Call(NamedTuple):
    """A call as the API's authorizer sees it."""

    group: str
    resource: str
    verb: str


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
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.forbidden: set[Call] = set()
        self.on_create: Callable[[Object], None] = lambda _: None
        self.changed = threading.Condition(threading.RLock())
        self.closing = False
        self._version = 100
        self._stamp = 0

        api = self

        class Handler(_Handler):
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

    def remove(self, group: str, plural: str, name: str) -> None:
        """Take an object away."""
        with self.changed:
            self._version += 1
            self.objects[group, plural, "team"].pop(name, None)
            self.changed.notify_all()

    def clear(self) -> None:
        """Take every object away."""
        with self.changed:
            self._version += 1
            self.objects.clear()
            self.changed.notify_all()

    def get(self, group: str, plural: str, name: str) -> Object | None:
        """A stored object."""
        with self.changed:
            return self.objects.get((group, plural, "team"), {}).get(name)

    def all(self, group: str, plural: str) -> list[Object]:
        """All stored objects of a kind."""
        with self.changed:
            return list(self.objects.get((group, plural, "team"), {}).values())

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


class _Handler(BaseHTTPRequestHandler):
    server_api: FakeApi
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self._answer(method)

    def _answer(self, method: str) -> None:
        api = self.server_api
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        parts = _PATH.match(url.path)
        assert parts is not None, f"no such path: {url.path}"
        group, plural, name, sub = (parts[key] or "" for key in ("group", "plural", "name", "sub"))
        watching = query.get("watch", "").lower() == "true"
        verb = {"POST": "create", "DELETE": "delete"}.get(method) or (
            "get" if name else "watch" if watching else "list"
        )
        call = Call(group, f"{plural}/{sub}" if sub else plural, verb)
        with api.changed:
            api.calls.append(call)
            api.requests.append((url.path, query))
            api.changed.notify_all()
        if self.headers.get("Authorization", "").removeprefix("Bearer ").removeprefix("bearer ") not in api.tokens:
            return self._status(401, "Unauthorized", "Unauthorized")
        if call in api.forbidden:
            return self._status(403, "Forbidden", f'{call.resource} is forbidden: User "tester" cannot {call.verb} it')
        fault = api.take_fault(call)
        if fault and not fault.done and fault.after_lines is None and fault.event is None:
            return self._cut() if fault.status == 0 else self._fault(fault)
        if (group, plural) not in api.known:
            return self._status(404, "NotFound", "the server could not find the requested resource")
        key = (group, plural, parts["namespace"])
        if method == "POST":
            return self._create(key, body, fault)
        if method == "DELETE":
            return self._delete(key, name, body)
        if sub == "log":
            return self._log(name, query, fault)
        if name:
            found = api.objects.get(key, {}).get(name)
            return self._json(200, found) if found else self._missing(plural, name)
        if watching:
            return self._watch(key, query, fault)
        with api.changed:
            items = [found for found in api.objects.get(key, {}).values() if _matches(found, query)]
            return self._json(200, {"items": items, "metadata": {"resourceVersion": api.version()}})

    def _create(self, key: tuple[str, str, str], body: Object, fault: Fault | None) -> None:
        api = self.server_api
        name = body["metadata"]["name"]
        with api.changed:
            if name in api.objects.get(key, {}):
                return self._status(409, "AlreadyExists", f'{key[1]}.{key[0]} "{name}" already exists')
            created = copy.deepcopy(body)
            created["metadata"]["namespace"] = key[2]
            api.put(key[0], key[1], created)
            api.on_create(created)
            answer = copy.deepcopy(created)
        return self._cut() if fault else self._json(201, answer)

    def _delete(self, key: tuple[str, str, str], name: str, body: Object) -> None:
        api = self.server_api
        with api.changed:
            found = api.objects.get(key, {}).get(name)
            if found is None:
                return self._missing(key[1], name)
            wanted = (body.get("preconditions") or {}).get("uid")
            if wanted and wanted != found["metadata"]["uid"]:
                return self._status(409, "Conflict", f"Precondition failed: UID in precondition: {wanted}")
            if found["metadata"].get("finalizers"):
                found["metadata"]["deletionTimestamp"] = "2026-11-21T08:00:00Z"
                api.put(key[0], key[1], found)
            else:
                api.remove(key[0], key[1], name)
        return self._json(200, {"kind": "Status", "status": "Success"})

    def _watch(self, key: tuple[str, str, str], query: dict[str, str], fault: Fault | None) -> None:
        api = self.server_api
        self._begin_stream()
        if fault and fault.event is not None:
            self._chunk(json.dumps(fault.event) + "\n")
            return self._end_stream()
        if fault:
            self._chunk('{"type": "MODI')
            return self._cut()
        seen = int(query.get("resourceVersion") or 0)
        deadline = time.monotonic() + int(query.get("timeoutSeconds") or 30)
        last: dict[str, Object] = {}
        while True:
            with api.changed:
                now = {n: f for n, f in api.objects.get(key, {}).items() if _matches(f, query)}
                events = [f for f in now.values() if int(f["metadata"]["resourceVersion"]) > seen]
                gone = [found for name, found in last.items() if name not in now]
                last = dict(now)
                seen = max([seen, *(int(f["metadata"]["resourceVersion"]) for f in events)])
                left = deadline - time.monotonic()
                if not events and not gone:
                    if left <= 0 or api.closing:
                        break
                    api.changed.wait(min(left, 0.1))
                    continue
            for kind, objects in (("MODIFIED", events), ("DELETED", gone)):
                for found in objects:
                    self._chunk(json.dumps({"type": kind, "object": found}) + "\n")
        return self._end_stream()

    def _log(self, pod: str, query: dict[str, str], fault: Fault | None) -> None:
        api = self.server_api
        found = api.objects.get(("", "pods", "team"), {}).get(pod)
        if found is None:
            return self._missing("pods", pod)
        if (found.get("status") or {}).get("phase") == "Pending":
            return self._status(400, "BadRequest", f'container in pod "{pod}" is waiting to start: ContainerCreating')
        previous = query.get("previous", "").lower() == "true"
        if previous and pod not in api.old_logs:
            return self._status(400, "BadRequest", "previous terminated container not found")
        self._begin_stream()
        for sent, (stamp, line) in enumerate(self._lines(pod, query, previous)):
            if fault and fault.after_lines == sent:
                return self._cut()
            text = f"{stamp} {line}" if query.get("timestamps", "").lower() == "true" else line
            # in two chunks, which end in the middle of a line
            self._chunk(text[: len(text) // 2])
            self._chunk(text[len(text) // 2 :] + "\n")
        return self._end_stream()

    def _lines(self, pod: str, query: dict[str, str], previous: bool) -> Iterator[tuple[str, str]]:
        api = self.server_api
        if previous:
            yield from api.old_logs[pod]
            return
        follow = query.get("follow", "").lower() == "true"
        at = 0
        if tail := query.get("tailLines"):
            at = max(0, len(api.logs.get(pod, [])) - int(tail))
        while True:
            with api.changed:
                new = api.logs.get(pod, [])[at:]
                found = api.objects.get(("", "pods", "team"), {}).get(pod)
                ended = found is None or (found.get("status") or {}).get("phase") in ("Succeeded", "Failed")
                if not new:
                    if not follow or ended or api.closing:
                        return
                    api.changed.wait(0.05)
                    continue
            yield from new
            at += len(new)

    def _missing(self, plural: str, name: str) -> None:
        self._status(404, "NotFound", f'{plural} "{name}" not found')

    def _fault(self, fault: Fault) -> None:
        self._status(fault.status, fault.reason, fault.message, fault.headers)

    def _status(self, code: int, reason: str, message: str, headers: dict[str, str] | None = None) -> None:
        body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code}
        self._json(code, body, headers)

    def _json(self, code: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, text: str) -> None:
        data = text.encode()
        if data:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

    def _end_stream(self) -> None:
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def _matches(found: Object, query: dict[str, str]) -> bool:
    labels = found["metadata"].get("labels") or {}
    for part in filter(None, query.get("labelSelector", "").split(",")):
        name, _, value = part.partition("=")
        if labels.get(name) != value.lstrip("="):
            return False
    for part in filter(None, query.get("fieldSelector", "").split(",")):
        path, _, value = part.partition("=")
        at: Any = found
        for step in path.split("."):
            at = (at or {}).get(step)
        if at != value:
            return False
    return True
