"""A small Kubeflow Pipelines API on loopback: it holds state, checks all requests and answers, misbehaves on demand."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.pipeline.cluster import openapi
from tests.pipeline.cluster.fake_backend import Call, FakeBackend, Object, Refused

LOGIN_PAGE = b"<!doctype html><html><head><title>Log in to Your Account</title></head><body>Dex</body></html>"


@dataclass
class Misbehaviour:
    """What is answered instead of the truth.

    Attributes:
        operation: regular expression of operationIds.
        times: how often.
        status: HTTP status; 0: the connection is cut.
        body: of the answer; empty: an error object.
        kind: its content type.
        headers: of the answer.
        done: the call takes effect all the same, only its answer is lost.
    """

    operation: str = ".*"
    times: int = 1
    status: int = 500
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    done: bool = False


class FakeKfp(FakeBackend):
    """The server; use as a context manager."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.faults: list[str] = []
        self.misbehaviours: list[Misbehaviour] = []
        self.accepts: Callable[[dict[str, str]], bool] = lambda _: True
        self.refusal = 401
        fake = self

        class Handler(_Handler):
            api = fake

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.scheme = "https" if tls else "http"
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)

    def __enter__(self) -> FakeKfp:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server.server_address[1]}"

    def made(self, operation: str) -> list[Call]:
        """The calls of this operation."""
        return [call for call in self.calls if call.operation == operation]

    def misbehave(self, operation: str = ".*", **what: Any) -> None:
        """Answer the next calls of these operations wrongly."""
        self.misbehaviours.append(Misbehaviour(operation, **what))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: FakeKfp

    def log_message(self, format: str, *args: object) -> None: ...

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_DELETE = do_PATCH = do_GET

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("content-length") or 0)
        raw = self.rfile.read(length) if length else b""
        if self._serve_log(parts.path, {name: value for name, (value, *_) in parse_qs(parts.query).items()}):
            return
        found = openapi.operation(self.command, parts.path)
        if found is None:
            self.api.faults.append(f"{self.command} {parts.path}: the API has no such call")
            self._answer(404, {"code": 5, "message": "Not Found"})
            return
        name, path, definition = found
        query = parse_qs(parts.query, keep_blank_values=True)
        body, form = self._body(raw)
        flat = {key: values[0] for key, values in query.items()}
        call = Call(name, path, flat, body, {key.lower(): value for key, value in self.headers.items()})
        self.api.calls.append(call)
        if not self.api.accepts(call.headers):
            code = {401: 16, 403: 7}[self.api.refusal]
            self._answer(self.api.refusal, {"code": code, "message": "not for this caller"})
            return
        wrong = openapi.request_faults(definition, query, None if form else body, form)
        if wrong:
            self.api.faults += [f"{name}: {line}" for line in wrong]
            self._answer(400, {"code": 3, "message": "; ".join(wrong)})
            return
        self._respond(call, definition)

    def _serve_log(self, path: str, query: dict[str, str]) -> bool:
        """Answer a call for a pod's log, which is in no OpenAPI; False for any other call."""
        found = re.fullmatch(r"/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", path)
        if not found and path != "/k8s/pod/logs":
            return False
        run, node = found.groups() if found else (query["runid"], query["podname"])
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.api.calls.append(Call("ReadRunLog", {"run_id": run, "node_id": node}, query, None, headers))
        if bool(found) == self.api.pages:
            self._send(404, b"<html><title>Error</title>Cannot GET</html>", "text/html", {})
            return True
        if not self.api.accepts(headers):
            self._answer(self.api.refusal, {"error_message": "not for this caller", "error_details": ""})
            return True
        try:
            log = self.api.node_log(run, node)
        except Refused as refused:
            self._answer(refused.status, {"error_message": str(refused), "error_details": str(refused)})
            return True
        if callable(log):
            self._stream(log)
        else:
            self._send(200, log.encode(), "text/plain", {})
        return True

    def _stream(self, write: Callable[[Callable[[bytes], None]], object]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.close_connection = True

        def send(data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

        with contextlib.suppress(OSError):
            write(send)

    def _respond(self, call: Call, definition: Object) -> None:
        wrong = self._misbehaviour(call.operation)
        if wrong and not wrong.done:
            self._misbehave(wrong)
            return
        status = 200
        try:
            answer = self.api.handle(call)
        except Refused as refused:
            status, answer = refused.status, {"code": refused.code, "message": str(refused)}
        self.api.faults += [
            f"the fake's answer to {call.operation}: {line}"
            for line in openapi.response_faults(definition, status, answer)
            # the pages' server has an answer of its own
            if not (self.api.pages and call.operation.endswith("GetHealthz"))
        ]
        if wrong:
            self._misbehave(wrong)
        else:
            self._answer(status, answer)

    def _body(self, raw: bytes) -> tuple[Any, set[str]]:
        kind = self.headers.get("content-type", "")
        if not raw:
            return None, set()
        if kind.startswith("multipart/form-data"):
            message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + raw)
            parts = {str(part.get_param("name", header="content-disposition")): part for part in message.iter_parts()}
            return parts["uploadfile"].get_content(), set(parts)
        return json.loads(raw), set()

    def _misbehaviour(self, operation: str) -> Misbehaviour | None:
        for wrong in self.api.misbehaviours:
            if wrong.times > 0 and re.fullmatch(wrong.operation, operation):
                wrong.times -= 1
                return wrong
        return None

    def _misbehave(self, wrong: Misbehaviour) -> None:
        if wrong.status == 0:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = wrong.body or json.dumps({"code": 13, "message": "made by the test"}).encode()
        self._send(wrong.status, body, wrong.kind, wrong.headers)

    def _answer(self, status: int, value: Object) -> None:
        self._send(status, json.dumps(value).encode(), "application/json", {})

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
