"""The output of a job's first pod, passed on while it is written: every line once, through broken connections."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime

from sharpen.jobs.kubernetes.client import Cluster
from sharpen.jobs.kubernetes.errors import KubernetesError

logger = logging.getLogger(__name__)

# A reconnect asks for what was written since the last line, and a little more: clocks of machines differ.
OVERLAP_SECONDS = 10
WAIT_SECONDS = 1.0
LONGEST_WAIT = 15.0
# of a job that ended: its pods may still run for a moment, and say nothing
QUIET_SECONDS = 3.0


@dataclass
class PrintedLines:
    """Which lines of a pod were passed on already.

    Lines are told apart by the time that the cluster puts before each. Several may carry the same time, so those of
    the newest time are counted.
    """

    newest: tuple[float, int] = (float("-inf"), 0)
    at_newest: int = 0
    _again: int = 0

    def begin(self) -> None:
        """A new connection: what was passed on may come again."""
        self._again = self.at_newest

    def is_new(self, stamp: str) -> bool:
        """True for a line that was not passed on yet."""
        when = moment(stamp)
        if when > self.newest:
            self.newest, self.at_newest, self._again = when, 1, 0
            return True
        if when < self.newest:
            return False
        if self._again:
            self._again -= 1
            return False
        self.at_newest += 1
        return True


_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def moment(stamp: str) -> tuple[float, int]:
    """A time of the cluster (RFC 3339, fractions of any length) as seconds since 1970 and nanoseconds.

    Raises:
        ValueError: not such a time.
    """
    parts = _STAMP.fullmatch(stamp)
    if parts is None:
        raise ValueError(stamp)
    seconds = datetime.fromisoformat(parts[1] + parts[3]).timestamp()
    return seconds, int((parts[2] or "").ljust(9, "0"))


class LogTail:
    """The last lines of an output, of so many bytes in all."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0
        self._lines: deque[bytes] = deque()

    def add(self, line: str) -> None:
        """One more line."""
        self._lines.append(line.encode() + b"\n")
        self._size += len(self._lines[-1])
        while self._size > self._limit:
            self._size -= len(self._lines.popleft())

    def __bytes__(self) -> bytes:
        """The lines; another thread may add some meanwhile."""
        return b"".join(self._lines.copy())


class LogStream:
    """Prints a container's output from a thread of its own until it is told to stop.

    Args:
        cluster: where the pod runs.
        pod, container: whose output.
        key: tells this very pod from an earlier one of the same name.
        tail: gets what is printed.
    """

    def __init__(self, cluster: Cluster, pod: str, container: str, key: str, tail: LogTail) -> None:
        self._tail = tail
        self.pod, self.key, self._cluster, self._container = pod, key, cluster, container
        self.last_line = time.monotonic()
        # silence means something only while one listens
        self.connected = False
        self._seen = PrintedLines()
        self._lines = 0
        self._ending = threading.Event()
        self._gone = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"log of {pod}", daemon=True)
        self._thread.start()

    def finish(self, seconds: float = 15.0) -> None:
        """Pass on what is left and stop: when the output ends, or nothing comes any more, or after some seconds."""
        self._ending.set()
        began = time.monotonic()
        while self._thread.is_alive() and time.monotonic() - began < seconds:
            self._thread.join(0.05)
            if time.monotonic() - max(self.last_line, began) > QUIET_SECONDS:
                break
        self._gone.set()

    def _run(self) -> None:
        wait = WAIT_SECONDS
        while not self._gone.is_set():
            before = self._lines
            final = self._ending.is_set()
            try:
                self._follow()
            except KubernetesError as error:
                self.connected = False
                if error.status == 403:
                    logger.warning(f"note: the job's output cannot be shown ({error.message})")
                    return
                if error.status == 401:
                    self._cluster.renew()
                # the last lines may still come when the API answers again
                final = final and not error.passing
            if final:
                return
            wait = WAIT_SECONDS if self._lines > before else min(LONGEST_WAIT, wait * 2)
            (self._gone if self._ending.is_set() else self._ending).wait(wait)

    def _follow(self) -> None:
        since = None
        if self._lines:
            since = int(time.monotonic() - self.last_line) + OVERLAP_SECONDS
        self._seen.begin()
        with self._cluster.log(self.pod, self._container, since) as lines:
            self.connected = True
            for line in lines:
                stamp, _, text = line.partition(" ")
                try:
                    new = self._seen.is_new(stamp)
                except ValueError:
                    # not a line of the container but one of the kubelet about it
                    continue
                if new and not self._gone.is_set():
                    self._lines += 1
                    self.last_line = time.monotonic()
                    logger.info(text)
                    self._tail.add(text)
