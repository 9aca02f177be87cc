"""Models that have passed the gate and wait until a person makes them the champion or refuses them.

``<root>/models/<name>/approvals/<version>.json`` is changed by conditional writes only, so that of two decisions at
once one counts. A decision is written before it is carried out: an approval that is killed in between is finished by
the next one, under the name of who decided first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from sharpen import typed_json
from sharpen.errors import InputError, Overtaken
from sharpen.registry import claims, registry
from sharpen.registry.registry import Champion, Moment, VersionName
from sharpen.registry.versions import checked_name, read_version
from sharpen.run_context import run_id
from sharpen.store import storage

WAITING, APPROVED, REJECTED, OUTDATED = "waiting", "approved", "rejected", "outdated"
STATES = {
    WAITING: "waits for approval",
    APPROVED: "approved, and not yet the champion",
    REJECTED: "rejected",
    OUTDATED: "waits, but the champion is another one than it was compared with",
}


@dataclass(frozen=True)
class Approval:
    """A version that waits or has waited.

    Attributes:
        version, content: which model.
        compared_with: version that was the champion when it was measured; empty: none was.
        evaluation: address of the evaluation that the gate decided by.
        reasons: the gate's, a line each.
        run_id, requested_at: the run that registered it, and when (UTC, ISO 8601).
        state: ``waiting``, ``approved`` or ``rejected``.
        decided_by, decided_at, comment: who decided, when and why; empty while it waits.
    """

    version: VersionName
    content: str
    compared_with: str
    evaluation: str
    reasons: list[str]
    run_id: str
    requested_at: Moment
    state: Annotated[Literal["waiting", "approved", "rejected"], Field()] = "waiting"
    decided_by: str = ""
    decided_at: str = ""
    comment: str = ""

    @property
    def decision(self) -> str:
        """The decision in words, such as ``rejected by Ann at 2026-11-29T10:00:00+00:00: too slow``."""
        why = f": {self.comment}" if self.comment else ""
        return f"{self.state} by {self.decided_by} at {self.decided_at}{why}"


def request(
    root: str, name: str, version: str, *, compared_with: str, evaluation: str, reasons: Sequence[str]
) -> Approval:
    """Let a registered version wait for approval; done again with the same evaluation, what became of it meanwhile.

    A version that was decided about, or compared with another champion, waits again when a new evaluation asks.

    Args:
        root, name, version: which.
        compared_with, evaluation, reasons: as `Approval` has them.
    """
    content, now = read_version(root, name, version).content, _now()
    made = Approval(version, content, compared_with, evaluation, list(reasons), run_id(), now)
    while True:
        present, etag = _read(root, name, version)
        if present and present.evaluation == evaluation and present.content == content:
            return present
        try:
            storage.write_json(_address(root, name, version), asdict(made), if_match=etag, if_absent=etag is None)
            return made
        except storage.PreconditionFailed:
            continue


def approvals(root: str, name: str) -> list[Approval]:
    """All that wait or have waited, by version, oldest first. Raises InputError for a damaged file."""
    files = storage.list_files(_folder(root, name))
    numbers = claims.numbered([file.name.removesuffix(".json") for file in files])
    return [found for number in numbers if (found := _read(root, name, number)[0])]


def waiting(root: str, name: str) -> dict[str, str]:
    """Version -> key of `STATES`, of those that nobody has decided about, and whose approval was not carried out."""
    champion = registry.read_champion(root, name)
    now = champion.version if champion else ""
    been = {now, *(champion.history if champion else ())}
    found = {}
    for one in approvals(root, name):
        if one.state != REJECTED and one.version not in been:
            found[one.version] = OUTDATED if one.compared_with != now else one.state
    return found


def approve(root: str, name: str, version: str, *, by: str, comment: str = "") -> Champion:
    """Make a version that waits the champion, if the champion is still the one that it was compared with.

    Args:
        root, name, version: which.
        by: who decides.
        comment: why.

    Returns:
        The champion. A version whose approval was begun is finished, and says who began it.

    Raises:
        InputError: it does not wait, or was rejected.
        Overtaken: another version is the champion now.
    """
    present, etag = _waiting(root, name, version)
    champion = registry.read_champion(root, name)
    if champion and champion.version == version:
        return champion
    if champion and present.evaluation and champion.promoted_by(present.evaluation) == version:
        raise Overtaken(f"{name}: {version} was {present.decision}; {champion.version} has followed it since")
    _check_champion(name, present, champion)
    if present.state == WAITING:
        present = _decide(root, name, present, etag, APPROVED, by, comment)
    why = f"{present.decision}; {'; '.join(present.reasons)}"
    return registry.promote(
        root, name, version, reason=why, expected=present.compared_with, evaluation=present.evaluation
    )


def reject(root: str, name: str, version: str, *, by: str, comment: str = "") -> Approval:
    """Refuse a version that waits; it stays registered until it is collected.

    Args:
        root, name, version: which.
        by: who decides.
        comment: why.

    Raises:
        InputError: it does not wait, or was approved.
    """
    present, etag = _waiting(root, name, version)
    champion = registry.read_champion(root, name)
    if champion and version in (champion.version, *champion.history):
        raise InputError(f"{name}: {version} has become the champion; sharpen models rollback {name}")
    if present.state == APPROVED and present.compared_with == (champion.version if champion else ""):
        raise InputError(
            f"{name}: {version} was {present.decision}; sharpen models approve {name} {version} finishes it"
        )
    return _decide(root, name, present, etag, REJECTED, by, comment)


def forget(root: str, name: str, version: str) -> None:
    """Delete what is recorded of a version that is deleted."""
    storage.delete(_address(root, name, version))


def _waiting(root: str, name: str, version: str) -> tuple[Approval, str]:
    present, etag = _read(root, name, version)
    if present is None or etag is None:
        read_version(root, name, version)
        known = ", ".join(waiting(root, name)) or "none does"
        raise InputError(f"{name}: {version} does not wait for approval; there are: {known}")
    if present.state == REJECTED:
        raise InputError(
            f"{name}: {version} was {present.decision}; sharpen models promote {name} {version} makes it the champion "
            "all the same"
        )
    return present, etag


def _check_champion(name: str, present: Approval, champion: Champion | None) -> None:
    now = champion.version if champion else ""
    if now != present.compared_with:
        raise Overtaken(
            f"{name}: {present.version} was compared with {present.compared_with or 'the base model'}, but "
            f"{now or 'no version'} is the champion now; run again, so that it is compared with that one"
        )


def _decide(
    root: str, name: str, present: Approval, etag: str, state: Literal["approved", "rejected"], by: str, comment: str
) -> Approval:
    if not by.strip():
        raise InputError("who decides is not known; name them with --by")
    decided = replace(present, state=state, decided_by=by.strip(), decided_at=_now(), comment=comment.strip())
    try:
        storage.write_json(_address(root, name, present.version), asdict(decided), if_match=etag)
    except storage.PreconditionFailed:
        now, _ = _read(root, name, present.version)
        what = now.decision if now and now.state != WAITING else "changed"
        raise Overtaken(f"{name}: {present.version} was {what} in the same moment; look at it again") from None
    return decided


def _read(root: str, name: str, version: str) -> tuple[Approval | None, str | None]:
    address = _address(root, name, version)
    try:
        data, etag = storage.read_with_etag(address)
    except storage.NotFound:
        return None, None
    return typed_json.parse(Approval, data, address, remedy="delete it, and run again"), etag


def _folder(root: str, name: str) -> str:
    return storage.join(root, "models", checked_name(name), "approvals")


def _address(root: str, name: str, version: str) -> str:
    return storage.join(_folder(root, name), f"{version}.json")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
