"""How the fake API answers: paths, verbs, selectors, watches, logs, and the faults that a test asked for."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.sharpen.jobs.fake_questions import answer_to, review

if TYPE_CHECKING:
    from tests.sharpen.jobs.fake_api import FakeApi, Fault

Object = dict[str, Any]

_PATH = re.compile(
    r"^/(?:api/v1|apis/(?P<group>[^/]+)/(?P<version>[^/]+))(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+))?)?$"
)


class Call(NamedTuple):
    """A call as the API's authorizer sees it."""

    group: str
    resource: str
    verb: str


class ApiHandler(BaseHTTPRequestHandler):
    """One connection."""

    server_api: FakeApi
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

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
        if question := answer_to(api, method, url.path, self.headers.get("Authorization", "")):
            return self._json(*question)
        known = self.headers.get("Authorization", "").removeprefix("Bearer ").removeprefix("bearer ") in api.tokens
        parts = _PATH.match(url.path)
        if parts is None:
            return (
                self._status(404, "NotFound", url.path) if known else self._status(401, "Unauthorized", "Unauthorized")
            )
        group, plural, name, sub = (parts[key] or "" for key in ("group", "plural", "name", "sub"))
        watching = query.get("watch", "").lower() == "true"
        verb = {"POST": "create", "PUT": "update", "DELETE": "delete"}.get(method) or (
            "get" if name else "watch" if watching else "list"
        )
        call = Call(group, f"{plural}/{sub}" if sub else plural, verb)
        with api.changed:
            api.calls.append(call)
            api.moments.append(time.monotonic())
            api.requests.append((url.path, query))
            api.changed.notify_all()
        if not known:
            return self._status(401, "Unauthorized", "Unauthorized")
        if call in api.forbidden:
            return self._status(403, "Forbidden", f'{call.resource} is forbidden: User "tester" cannot {call.verb} it')
        fault = api.take_fault(call)
        if fault and not fault.done and fault.after_lines is None and fault.event is None:
            return self._cut() if fault.status == 0 else self._fault(fault)
        if (group, plural) not in api.known and not plural.endswith("accessreviews"):
            return self._status(404, "NotFound", "the server could not find the requested resource")
        key = (group, plural, parts["namespace"] or "")
        if method == "POST" and plural.endswith("accessreviews"):
            return self._json(201, {"spec": body["spec"], "status": {"allowed": review(api, body["spec"])}})
        if method == "POST" and query.get("dryRun") == "All":
            api.dry_runs.append(body)
            return self._json(201, body)
        if method == "POST":
            return self._create(key, body, fault)
        if method == "DELETE":
            return self._delete(key, name, body)
        if sub == "scale" and name in api.objects.get(key, {}):
            return self._scale(key, name, body)
        if sub == "log":
            return self._log(key, name, query, fault)
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
            created["metadata"] |= {"namespace": key[2], "creationTimestamp": "2026-11-21T08:00:00Z"}
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
                api.remove(key[0], key[1], name, key[2])
        return self._json(200, {"kind": "Status", "status": "Success"})

    def _scale(self, key: tuple[str, str, str], name: str, body: Object) -> None:
        """A Deployment's number of pods; those that are asked for are there at once."""
        api = self.server_api
        with api.changed:
            found = api.objects[key][name]
            if body:
                found["spec"]["replicas"] = body["spec"]["replicas"]
                found["status"] = {"availableReplicas": body["spec"]["replicas"]}
                api.put(key[0], key[1], found)
            return self._json(200, {"kind": "Scale", "spec": {"replicas": found["spec"]["replicas"]}})

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

    def _log(self, key: tuple[str, str, str], pod: str, query: dict[str, str], fault: Fault | None) -> None:
        api = self.server_api
        found = api.objects.get(key, {}).get(pod)
        if found is None:
            return self._missing("pods", pod)
        if (found.get("status") or {}).get("phase") == "Pending":
            return self._status(400, "BadRequest", f'container in pod "{pod}" is waiting to start: ContainerCreating')
        previous = query.get("previous", "").lower() == "true"
        if previous and pod not in api.old_logs:
            return self._status(400, "BadRequest", "previous terminated container not found")
        self._begin_stream()
        for sent, (stamp, line) in enumerate(self._lines(key, pod, query, previous)):
            if fault and fault.after_lines == sent:
                return self._cut()
            text = f"{stamp} {line}" if query.get("timestamps", "").lower() == "true" else line
            # in two chunks, which end in the middle of a line
            self._chunk(text[: len(text) // 2])
            self._chunk(text[len(text) // 2 :] + "\n")
        return self._end_stream()

    def _lines(
        self, key: tuple[str, str, str], pod: str, query: dict[str, str], previous: bool
    ) -> Iterator[tuple[str, str]]:
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
                found = api.objects.get(key, {}).get(pod)
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
