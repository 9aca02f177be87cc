"""A proxy before a real S3 store that misanswers on demand, as stores do that lack an operation."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit


class Request(NamedTuple):
    """What the store is asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


class Answer(NamedTuple):
    """What the client is told instead."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


def refusal(status: int, code: str) -> Answer:
    """An error as S3 words it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return Answer(status, body.encode(), (("Content-Type", "application/xml"),))


class StoreProxy:
    """Passes every request on with its signature; use as a context manager.

    Args:
        endpoint: the store.
        instead: is asked before the store; what it returns is answered at once.
        afterwards: is shown the store's status and may replace the answer.
        on_the_way: may change the body of a request before the store gets it, as a broken line does.
        on_the_way_back: may change the body of an answer.
    """

    def __init__(
        self,
        endpoint: str,
        instead: Callable[[Request], Answer | None] = lambda _: None,
        afterwards: Callable[[Request, int], Answer | None] = lambda *_: None,
        on_the_way: Callable[[Request], bytes] = lambda asked: asked.body,
        on_the_way_back: Callable[[Request, bytes], bytes] = lambda _, body: body,
    ) -> None:
        behind = urlsplit(endpoint)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def _pass(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = Request(self.command, self.path, dict(self.headers.items()), data)
                answer = instead(asked)
                if answer is None:
                    connection = http.client.HTTPConnection(behind.hostname or "", behind.port)
                    # The host is part of the signature, so it stays.
                    connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        if name.lower() != "expect":
                            connection.putheader(name, value)
                    connection.endheaders(on_the_way(asked))
                    response = connection.getresponse()
                    headers = tuple(
                        (name, value)
                        for name, value in response.getheaders()
                        if name.lower() not in ("content-length", "transfer-encoding", "connection")
                    )
                    if self.command == "HEAD":
                        # of the body that a GET would have
                        headers += (("Content-Length", response.getheader("Content-Length", "0")),)
                    answer = Answer(response.status, on_the_way_back(asked, response.read()), headers)
                    connection.close()
                    answer = afterwards(asked, answer.status) or answer
                self.send_response(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                if self.command != "HEAD":
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> StoreProxy:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
