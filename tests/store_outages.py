"""Outages of a real object store that begin just before a chosen call: it is stopped, or paused.

A paused store takes connections and answers nothing. `outage_at` is for calls of this process; `watched` for those of
child processes, which `children/sitecustomize.py` holds at the calls that are wanted.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.store.server import EmbeddedStore
from sharpen.store import retry
from sharpen.uri import S3Uri

KINDS = ("stopped", "paused")
CHILDREN = Path(__file__).parent / "children"
FOLDER_VARIABLE = "SHARPEN_TEST_CALLS"


@contextlib.contextmanager
def own_store(folder: Path) -> Iterator[EmbeddedStore]:
    """A store for a block, which may stop and start it; the AWS variables point at it."""
    with EmbeddedStore(folder / "store") as store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.env().items():
            patch.setenv(name, value)
        try:
            yield store
        finally:
            # one that was started again would stay
            store.down(force=True)


def begin(store: EmbeddedStore, kind: str) -> None:
    """Let the store go away."""
    if kind == "stopped":
        store.down(force=True)
    elif pid := store.status().pid:
        os.kill(pid, signal.SIGSTOP)


def end(store: EmbeddedStore, kind: str) -> None:
    """Let it come back."""
    if kind == "stopped":
        store.up()
    elif pid := store.status().pid:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def outage_at(store: EmbeddedStore, kind: str, seconds: float, when: Callable[[S3Uri], bool]) -> Iterator[list[str]]:
    """A block in which the store goes away at the first call of this process that `when` is true for.

    Args:
        store: the store.
        kind: stopped or paused.
        seconds: how long it is away.
        when: takes the address that is asked for.

    Yields:
        The address at whose call it went away.
    """
    real, lock = retry.client, threading.Lock()
    begun: list[str] = []
    back: list[threading.Thread] = []

    def come_back() -> None:
        time.sleep(seconds)
        end(store, kind)

    def client(remote: S3Uri, **options: Any) -> Any:
        with lock:
            if not begun and when(remote):
                begun.append(remote.uri)
                begin(store, kind)
                back.append(threading.Thread(target=come_back))
                back[0].start()
        return real(remote, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retry, "client", client)
        try:
            yield begun
        finally:
            for thread in back:
                thread.join()


class Call(NamedTuple):
    """A call that a child process made: its step, which process of the step, its number there, the address."""

    step: str
    process: int
    number: int
    uri: str


class Watched:
    """Child processes whose calls of the store are counted and held.

    Args:
        folder: an empty folder.
        stops: step -> numbers of calls, or patterns of addresses, at whose first call in each of its processes the
            store goes away.
    """

    def __init__(self, folder: Path, stops: Mapping[str, list[int | str]] | None = None) -> None:
        self.folder = folder
        self.outages: list[Call] = []
        (folder / "stops.json").write_text(json.dumps(stops or {}))

    def environment(self) -> dict[str, str]:
        """What the processes must be started with; PYTHONPATH begins with it."""
        return {FOLDER_VARIABLE: str(self.folder), "PYTHONPATH": str(CHILDREN)}

    def calls(self) -> list[Call]:
        """The calls that were made, process by process."""
        lines = [line for file in sorted(self.folder.glob("*.calls")) for line in file.read_text().splitlines()]
        return [Call(*json.loads(line)) for line in lines]

    @contextlib.contextmanager
    def outages_of(self, store: EmbeddedStore, kind: str, seconds: float) -> Iterator[None]:
        """A block in which the store goes away at each call that is held, one after another."""
        done = threading.Event()

        def act() -> None:
            while not done.is_set():
                for file in self.folder.glob("*.held"):
                    self.outages.append(Call(*json.loads(file.read_text())))
                    begin(store, kind)
                    file.unlink()
                    time.sleep(seconds)
                    end(store, kind)
                done.wait(0.05)

        thread = threading.Thread(target=act)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
