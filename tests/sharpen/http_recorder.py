"""A real HTTP server that records what it is sent, and answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Recorder:
    """What was sent to a server.

    Attributes:
        url: of the server.
        answers: status of each next answer; 200 when they are used up.
        requests: (path, headers in lower case, body) of each call.
        headers: of every answer.
    """

    url: str = ""
    answers: list[int] = field(default_factory=list)
    requests: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server on this machine, whose requests a handler answers, for as long as the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def recorder() -> Iterator[Recorder]:
    """A server on this machine, for as long as the block."""
    found = Recorder()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status = found.answers.pop(0) if found.answers else 200
            answer = f"you called {self.path}".encode()
            self.send_response(status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            return

    with serving(Handler) as found.url:
        yield found
