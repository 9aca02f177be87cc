"""Who writes which version.

A claim on a number, ``<root>/models/<name>/claims/v0001.json``, is made only if absent. While its owner lives it is
renewed; that of a dead owner is taken over by the next promotion of the same model, so that a promotion that was killed
is completed under its number. Every change of a claim is a conditional write, so that it has one owner at a time. How
long an owner has been silent is measured with the store's own clock.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from types import TracebackType

from sharpen import typed_json
from sharpen.errors import InputError, SharpenError, StepFailed
from sharpen.registry import process_identity
from sharpen.registry.settings import VERSION_PATTERN
from sharpen.store import storage
from sharpen.terminal import printable

logger = logging.getLogger(__name__)

# an owner that was silent for so long is taken for dead
LEASE_SECONDS = 60.0
RENEWAL_SECONDS = 10.0
# what another model's dead promotion left half-written is deleted after this time
ABANDONED_SECONDS = 15 * 60.0
_POLL_SECONDS = 0.5
_TOLD_SECONDS = 30.0


@dataclass(frozen=True)
class Claim:
    """What a claim says.

    Attributes:
        content: of the model that is written under the number; empty once the number was given up.
        token: of the owner; no two owners have the same.
        run_id: the owner's run.
        process: the owner's process, as `process_identity` describes it.
        since: ISO 8601, by the owner's clock; only shown.
        renewals: how often it was renewed.
        released: the owner has let go of it.
    """

    content: str
    token: str = ""
    run_id: str = ""
    process: dict[str, str] = field(default_factory=dict)
    since: str = ""
    renewals: int = 0
    released: bool = False


class Ownership:
    """A claim of this process. In a `with` block it is renewed; an error lets go of it.

    Attributes:
        version: the number.
    """

    def __init__(self, address: str, version: str, claim: Claim, etag: str) -> None:
        self.version = version
        self._address, self._claim, self._etag = address, claim, etag
        self._lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True, name=f"claim {version}")

    def __enter__(self) -> Ownership:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if error is not None and not self._lost:
            # so that who tries again need not wait
            try:
                storage.write_json(self._address, asdict(replace(self._claim, released=True)), if_match=self._etag)
            except (SharpenError, storage.PreconditionFailed, OSError):
                return

    def check(self) -> None:
        """Raise StepFailed when another promotion has taken the claim over."""
        if self._lost or _read(self._address)[0].token != self._claim.token:
            raise StepFailed(
                f"{self._address}: another promotion has taken {self.version} over, as this one was not heard of for "
                f"{LEASE_SECONDS:.0f} seconds; run again"
            )

    def _renew(self) -> None:
        while not self._stop.wait(RENEWAL_SECONDS):
            renewed = replace(self._claim, renewals=self._claim.renewals + 1)
            try:
                self._etag = storage.write_json(self._address, asdict(renewed), if_match=self._etag)
                self._claim = renewed
            except storage.PreconditionFailed:
                self._lost = True
                return
            except (SharpenError, OSError):
                # an outage: tried again at the next turn
                continue


def take(folder: str, versions: str, content: str, run_id: str, known: Collection[str]) -> Ownership | str:
    """Claim a number for a model.

    Args:
        folder: address of the claims.
        versions: address of the folder of the versions.
        content: of the model.
        run_id: this run.
        known: versions that are finished and known to hold other models.

    Returns:
        The claim: on the number under which a dead promotion of the same content was at work, else on the next one. Or
        the version that another promotion of the same content has finished meanwhile; its end is waited for.
    """
    while True:
        # before the claims: a version's claim is older than the version, so that of each one listed here is seen below
        written = storage.list_folders(versions)
        numbers = numbered([file.name.removesuffix(".json") for file in storage.list_files(folder)])
        for version in numbers:
            if version in known:
                continue
            claim, etag, silent = _read(storage.join(folder, f"{version}.json"))
            finished = storage.is_complete(storage.join(versions, version))
            if claim.content == content and finished:
                return version
            if claim.content == content:
                if not _is_dead(claim, silent) and _wait(folder, versions, version):
                    return version
                if mine := _take_over(folder, version, content, run_id):
                    return mine
                break
            if claim.content and not finished:
                _give_up(folder, versions, version, claim, etag, silent)
        else:
            taken = numbered([*written, *numbers])
            version = f"v{(int(taken[-1][1:]) if taken else 0) + 1:04}"
            address, claim = storage.join(folder, f"{version}.json"), _new(content, run_id)
            try:
                etag = storage.write_json(address, asdict(claim), if_absent=True)
            except storage.PreconditionFailed:
                continue
            return Ownership(address, version, claim, etag)


def forget(folder: str, version: str) -> None:
    """Give a version's number up for good, before the version is deleted: its content gets another number.

    Args:
        folder: address of the claims.
        version: which.
    """
    address = storage.join(folder, f"{version}.json")
    while True:
        try:
            claim, etag, _ = _read(address)
            storage.write_json(address, asdict(replace(claim, content="", released=True)), if_match=etag)
            return
        except storage.NotFound:
            return
        except storage.PreconditionFailed:
            continue


def _wait(folder: str, versions: str, version: str) -> bool:
    """Wait for another promotion of the same model; True when it has finished the version, False when it has died."""
    told = float("-inf")
    while True:
        claim, _, silent = _read(storage.join(folder, f"{version}.json"))
        if storage.is_complete(storage.join(versions, version)):
            return True
        if _is_dead(claim, silent) or not claim.content:
            return False
        if time.monotonic() - told > _TOLD_SECONDS:
            told = time.monotonic()
            until = datetime.now() + timedelta(seconds=LEASE_SECONDS - silent)
            pid, host = (claim.process.get(fact, "unknown") for fact in ("pid", "host"))
            who = f"run {claim.run_id or 'unknown'} (process {pid} on machine {host})"
            line = (
                f"{version} of the same model is being written by {who} since {claim.since or 'some time'}; "
                f"waiting for it. If nothing more is heard of it, this run takes over at {until:%H:%M:%S}"
            )
            logger.info(printable(line))
        time.sleep(_POLL_SECONDS)


def _take_over(folder: str, version: str, content: str, run_id: str) -> Ownership | None:
    """The claim of a dead owner; None when somebody else was quicker."""
    address = storage.join(folder, f"{version}.json")
    claim, etag, silent = _read(address)
    if claim.content != content or not _is_dead(claim, silent):
        return None
    mine = _new(content, run_id)
    try:
        etag = storage.write_json(address, asdict(mine), if_match=etag)
    except storage.PreconditionFailed:
        return None
    logger.info(f"{version}: completing what an earlier promotion of the same model left")
    return Ownership(address, version, mine, etag)


def _give_up(folder: str, versions: str, version: str, claim: Claim, etag: str, silent: float) -> None:
    """Delete what a dead promotion of another model left; its number is not used again."""
    if not _has_ended(claim) and silent < ABANDONED_SECONDS:
        return
    try:
        storage.write_json(storage.join(folder, f"{version}.json"), asdict(replace(claim, content="")), if_match=etag)
    except storage.PreconditionFailed:
        return
    storage.delete_unfinished(storage.join(versions, version))


def _is_dead(claim: Claim, silent: float) -> bool:
    return _has_ended(claim) or silent > LEASE_SECONDS


def _has_ended(claim: Claim) -> bool:
    return claim.released or process_identity.has_ended(claim.process)


def _new(content: str, run_id: str) -> Claim:
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    return Claim(content, secrets.token_hex(8), run_id, process_identity.this_process(), now)


def _read(address: str) -> tuple[Claim, str, float]:
    """A claim, its ETag, and the seconds since it was written. One that cannot be read belongs to nobody."""
    data, etag, silent = storage.read_with_age(address)
    try:
        return typed_json.parse(Claim, data, address), etag, silent
    except InputError:
        return Claim(""), etag, silent


def numbered(names: list[str]) -> list[str]:
    """Those of the names that are numbers of versions, in their order."""
    return sorted((name for name in names if re.fullmatch(VERSION_PATTERN, name)), key=lambda name: int(name[1:]))
