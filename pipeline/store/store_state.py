"""What a store's folder holds besides its data: ports and keys, the log, and the process that runs."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.store.seaweedfs import HOST
from pipeline.store.supervisor import RUNNING, STATE, try_lock
from sharpen.errors import InputError
from sharpen.store import local_store

KEYS = "keys.json"


@dataclass(frozen=True)
class StoreState:
    """What is remembered between starts.

    Attributes:
        ports: server -> port.
        stays: whether the store runs without users.
        stopping: whether somebody has begun to stop the process that runs.
    """

    ports: dict[str, int]
    stays: bool = False
    stopping: bool = False

    @property
    def endpoint(self) -> str:
        """Address of the S3 server."""
        return f"http://{HOST}:{self.ports['s3']}"


class StoreFolder:
    """The files of a store.

    Args:
        directory: the store's folder.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "weed.log"

    def state(self) -> StoreState:
        """What was remembered; without ports where there is nothing, or nothing readable."""
        try:
            return StoreState(**json.loads((self.directory / STATE).read_bytes()))
        except (OSError, ValueError, TypeError):
            return StoreState({})

    def remember(self, state: StoreState) -> None:
        """Write the state."""
        local_store.replace(self.directory / STATE, json.dumps(asdict(state)).encode(), private=True)

    def keys(self, *, needed: bool = True) -> dict[str, str] | None:
        """``access_key`` and ``secret_key``; None where there are none, or damaged ones that are not needed.

        Raises:
            InputError: they are needed and damaged. No data depend on them.
        """
        path = self.directory / KEYS
        if not path.exists():
            return None
        try:
            keys = json.loads(path.read_bytes())
            return {name: str(keys[name]) for name in ("access_key", "secret_key")}
        except (ValueError, KeyError, TypeError):
            if not needed:
                return None
            raise InputError(
                f"{path} is damaged; stop the store and start it again, which makes new keys for the same data: "
                "sharpen store down; sharpen store up"
            ) from None

    def new_keys(self) -> dict[str, str]:
        """Make keys at random, and write them."""
        keys = {"access_key": "sharpen" + secrets.token_hex(6), "secret_key": secrets.token_hex(24)}
        local_store.replace(self.directory / KEYS, json.dumps(keys).encode(), private=True)
        return keys

    def is_running(self) -> bool:
        """True while the supervisor or the program of this store lives."""
        path = self.directory / RUNNING
        if not path.exists():
            return False
        lock = try_lock(path)
        if lock is not None:
            os.close(lock)
        return lock is None

    def pid(self) -> int | None:
        """Id of the program's process; None until the supervisor has written it."""
        text = (self.directory / RUNNING).read_text().strip()
        return int(text) if text.isdecimal() else None

    def last_line(self) -> str:
        """The last line of the log that names an error, else the last."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        errors = [line for line in lines[-50:] if line[:1] in "FE"] or lines[-1:]
        return errors[-1] if errors else "no log"
