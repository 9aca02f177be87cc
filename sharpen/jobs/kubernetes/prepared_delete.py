"""Deleting a job within milliseconds of a signal, however busy this process is.

Where a run is cancelled, Argo signals the processes of a step's container and ends the container some tenths of a
second later: too short for a busy Python process to reach its handler, connect and ask. So a small process waits
beside it, with a connection that is open and a request that is written. The signal reaches that process by itself (a
container's processes are one group), and as a byte that C code writes to a pipe when this process is signalled, which
needs no interpreter lock.

This file is also the program of that process, and then imports the standard library only.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# An API server gives up a connection without a request after 32 s.
FRESH_SECONDS = 20.0
CONNECT_SECONDS = 10.0
_TRIES = 3
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class PreparedDelete:
    """The process that waits; to be made in the main thread.

    Args:
        connection: how to reach the API, as `connection.access` gives it.
    """

    def __init__(self, connection: Mapping[str, Any]) -> None:
        signals, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(signals)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[signals],
            text=True,
        )
        os.close(signals)
        self._wakeup = wakeup
        self._before = -1
        with contextlib.suppress(ValueError):  # not the main thread
            self._before = signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        self._send({"connection": dict(connection)})

    @property
    def pid(self) -> int:
        """Of the process that waits."""
        return self._process.pid

    def aim(self, path: str, options: Mapping[str, Any]) -> None:
        """From now on delete the object at `path` of the API, with these options, when a signal comes."""
        self._send({"path": path, "options": dict(options)})

    def status(self, seconds: float) -> int | None:
        """The API's answer to the request that a signal made leave; None: none came within so many seconds."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else ""
        return int(line) if line.strip() else None

    def close(self) -> None:
        """End the process; signals are this process's alone again."""
        with contextlib.suppress(ValueError):
            signal.set_wakeup_fd(self._before)
        os.close(self._wakeup)
        self._process.kill()
        self._process.communicate()

    def _send(self, values: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        # a helper that is gone only leaves the usual way, which is slower
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(values) + "\n")
            self._process.stdin.flush()


class _Helper:
    """The other process."""

    def __init__(self) -> None:
        self._access: dict[str, Any] = {}
        self._path, self._body = "", b""
        self._ready: http.client.HTTPConnection | None = None
        self._lock = threading.Lock()

    def take(self, order: Mapping[str, Any]) -> None:
        """Note what the other process says."""
        if "connection" in order:
            self._access = order["connection"]
            threading.Thread(target=self._keep_ready, daemon=True).start()
        else:
            self._path, self._body = order["path"], json.dumps(order["options"]).encode()

    def delete(self) -> int | None:
        """Send the request; the status of the answer, or None."""
        for _ in range(_TRIES if self._path else 0):
            with self._lock:
                connection, self._ready = self._ready, None
            try:
                if connection is None:
                    connection = self._connect()
                connection.sock.sendall(self._request())
                answer = http.client.HTTPResponse(connection.sock, method="DELETE")
                answer.begin()
                return answer.status
            except (OSError, http.client.HTTPException):
                continue
        return None

    def _request(self) -> bytes:
        server = urlsplit(self._access["host"])
        lines = [
            f"DELETE {server.path.rstrip('/')}{self._path} HTTP/1.1",
            f"Host: {server.netloc}",
            "Accept: application/json",
            "Content-Type: application/json",
            f"Content-Length: {len(self._body)}",
            *(f"{name}: {value}" for name, value in self._access["headers"].items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + self._body

    def _keep_ready(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                if token := self._access["token_file"]:
                    self._access["headers"]["Authorization"] = f"Bearer {Path(token).read_text().strip()}"
                fresh = self._connect()
                with self._lock:
                    before, self._ready = self._ready, fresh
                if before is not None:
                    before.close()
            time.sleep(FRESH_SECONDS)

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self._access["host"])
        host, port = parts.hostname or "", parts.port
        if parts.scheme == "http":
            plain = http.client.HTTPConnection(host, port or 80, timeout=CONNECT_SECONDS)
            plain.connect()
            return plain
        context = ssl.create_default_context(cafile=self._access["ca"])
        if not self._access["verify"]:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if self._access["certificate"]:
            context.load_cert_chain(self._access["certificate"], self._access["key"])
        secure = http.client.HTTPSConnection(host, port or 443, timeout=CONNECT_SECONDS, context=context)
        secure.connect()
        return secure


def main(signals: int) -> None:
    """Wait for orders on standard input and for signals; end with standard input, or after a signal."""
    mine, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)
    helper, rest = _Helper(), b""
    while True:
        ready, _, _ = select.select([0, signals, mine], [], [])
        if any(set(_SIGNALS) & set(os.read(one, 64)) for one in ready if one != 0):
            os.write(1, f"{helper.delete() or ''}\n".encode())
            return
        if 0 in ready:
            read = os.read(0, 2**16)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                helper.take(json.loads(line))


if __name__ == "__main__":
    main(int(sys.argv[1]))
