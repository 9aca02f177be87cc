"""The registry: which version of a model is in use, and how that changes.

``<root>/models/<name>/champion.json`` names the champion. It is replaced by conditional writes only, so that of two
promotions at once one wins and the other is told.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat

from sharpen import typed_json
from sharpen.errors import InputError, Overtaken, StepFailed
from sharpen.registry.settings import VERSION_PATTERN
from sharpen.registry.versions import (
    PROVENANCE,
    Version,
    checked_name,
    content_of,
    list_models,
    list_versions,
    read_version,
    register,
    unknown_model,
    version_address,
)
from sharpen.store import storage

__all__ = [
    "Champion",
    "Version",
    "champion_address",
    "list_models",
    "list_versions",
    "promote",
    "provenance",
    "pull",
    "read_champion",
    "register",
    "rollback",
    "show",
    "version_address",
]

SCHEMA_VERSION = 1
CHAMPION = "champion"
HISTORY = 100

VersionName = Annotated[str, Field(pattern=VERSION_PATTERN)]
Moment = Annotated[str, AfterValidator(lambda text: str(datetime.fromisoformat(text)) and text)]


@dataclass(frozen=True)
class Champion:
    """What champion.json says.

    Attributes:
        version, address, content, run_id, metrics: of the version in use.
        promoted_at: UTC, ISO 8601.
        reason: why it was promoted.
        previous: the version that `rollback` would bring back; empty when there is none.
        history: the champions before this one, oldest first.
        evaluations: version -> address of the evaluation that made it the champion, of this and those in the history.
    """

    version: VersionName
    address: str
    content: str
    promoted_at: Moment
    run_id: str
    metrics: dict[str, FiniteFloat]
    reason: str
    previous: VersionName | Literal[""] = ""
    history: list[VersionName] = field(default_factory=list)
    evaluations: dict[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def promoted_by(self, evaluation: str) -> str:
        """The version, this or an earlier champion, that an evaluation made the champion; empty for none."""
        return next((version for version, address in self.evaluations.items() if address == evaluation), "")


def read_champion(root: str, name: str) -> Champion | None:
    """The champion, or None while no version was promoted."""
    return _champion_and_etag(root, name)[0]


def champion_address(root: str, name: str) -> str:
    """Address of the champion's folder; empty while there is none."""
    champion = read_champion(root, name)
    return champion.address if champion else ""


def show(root: str, name: str, version: str = CHAMPION) -> Version:
    """Facts of one version, or of the champion. Raises InputError when there is none of that name."""
    if version == CHAMPION:
        present = read_champion(root, name)
        if present is None:
            raise InputError(unknown_model(root, name) or f"{name}: no version was promoted yet; name one, like v0001")
        version = present.version
    return read_version(root, name, version)


def provenance(root: str, name: str, version: str = CHAMPION) -> dict[str, Any]:
    """Where a version comes from: run, data, settings, metrics, comparison, the gate's decision, code version."""
    where = storage.join(show(root, name, version).address, PROVENANCE)
    return typed_json.parse(dict[str, Any], storage.read_bytes(where), where)


def promote(
    root: str, name: str, version: str, *, reason: str, expected: str | None = None, evaluation: str = ""
) -> Champion:
    """Make a registered version the champion.

    Args:
        root, name, version: which.
        reason: why, for those who look later.
        expected: the version that must be the champion now, empty for none; not given, any may be.
        evaluation: address of the evaluation that the decision rests on; empty when somebody decided without one.

    Returns:
        The champion; the present one unchanged if it is this version already.

    Raises:
        InputError: there is no such version.
        Overtaken: another version is the champion than expected, or somebody promoted one in between.
    """
    entry = read_version(root, name, version)
    present, etag = _champion_and_etag(root, name)
    if present and present.version == entry.version:
        return present
    before = present.version if present else ""
    if expected is not None and before != expected:
        raise Overtaken(
            f"{name}: {before or 'no version'} is the champion now, but {entry.version} was compared with "
            f"{expected or 'the base model'}; run again, so that it is compared with the champion"
        )
    history = [*present.history, present.version][-HISTORY:] if present else []
    evaluations = {**(present.evaluations if present else {}), entry.version: evaluation}
    return _switch(root, name, entry, reason=reason, history=history, evaluations=evaluations, etag=etag)


def rollback(root: str, name: str, *, reason: str = "") -> Champion:
    """Make the champion before the present one the champion again; called twice, the one before that.

    Raises:
        InputError: there is no champion, or none before it.
        Overtaken: somebody promoted a version in between.
    """
    present, etag = _champion_and_etag(root, name)
    if present is None:
        raise InputError(
            unknown_model(root, name) or f"{name}: no version was promoted, so there is nothing to roll back"
        )
    if not present.previous:
        raise InputError(f"{name}: {present.version} is the first champion; there is none before it to roll back to")
    entry = read_version(root, name, present.previous)
    why = reason or f"rolled back from {present.version}"
    history, evaluations = present.history[:-1], present.evaluations
    return _switch(root, name, entry, reason=why, history=history, evaluations=evaluations, etag=etag)


def pull(root: str, name: str, version: str, target: Path) -> Path:
    """Copy a version to a local folder, the hashes of its files checked.

    Args:
        version: for example ``v0001``, or ``champion``.
        target: the folder; an earlier copy there is replaced, and what others put into it stays. A folder with other
            files alone is refused.

    Raises:
        InputError: no such model or version, or the target holds other files.
        StepFailed: a file is damaged, or the champion is not the model that was promoted.
    """
    present = read_champion(root, name) if version == CHAMPION else None
    entry = show(root, name, present.version if present else version)
    marker = storage.read_manifest(entry.address)
    if content_of(marker.files) != entry.content:
        raise StepFailed(f"{entry.address}: the files are not those that were registered; do not use them")
    if present and present.content != entry.content:
        raise StepFailed(f"{entry.address}: not the content that was promoted; do not use it")
    _check_target(root, target.expanduser(), [file["name"] for file in marker.files])
    storage.copy_artifact(entry.address, str(target))
    return target


def _check_target(root: str, target: Path, names: list[str]) -> None:
    """Only what an earlier pull wrote may be replaced."""
    if not storage.is_remote(root) and target.resolve().is_relative_to(Path(root).expanduser().resolve() / "models"):
        raise InputError(f"{target}: lies in the registry itself; name another folder")
    if storage.is_complete(str(target)) and (producer := storage.read_manifest(str(target)).producer) != "promotion":
        raise InputError(
            f"{target}: holds what {producer or 'another program'} wrote, not a pulled model; name another folder"
        )
    if in_the_way := [
        name
        for name in storage.foreign_files(target)
        if any(f"{written}/".startswith(f"{name}/") or name.startswith(f"{written}/") for written in names)
    ]:
        raise InputError(
            f"{target}: {in_the_way[0]} is not as it was pulled, and the model has a file of that name; move it away"
        )


def _pointer(root: str, name: str) -> str:
    return storage.join(root, "models", checked_name(name), "champion.json")


def _champion_and_etag(root: str, name: str) -> tuple[Champion | None, str | None]:
    address = _pointer(root, name)
    try:
        data, etag = storage.read_with_etag(address)
    except storage.NotFound:
        return None, None
    champion: Champion = typed_json.parse(Champion, data, address, remedy="delete it and promote a version again")
    # a registry may be copied to another root
    return replace(champion, address=version_address(root, name, champion.version)), etag


def _switch(
    root: str,
    name: str,
    entry: Version,
    *,
    reason: str,
    history: list[str],
    evaluations: dict[str, str],
    etag: str | None,
) -> Champion:
    champion = Champion(
        version=entry.version,
        address=entry.address,
        content=entry.content,
        promoted_at=datetime.now(UTC).isoformat(timespec="seconds"),
        run_id=entry.run_id,
        metrics=entry.metrics,
        reason=reason,
        previous=history[-1] if history else "",
        history=history,
        evaluations={v: evaluations[v] for v in [*history, entry.version] if evaluations.get(v)},
    )
    try:
        storage.write_json(_pointer(root, name), asdict(champion), if_match=etag, if_absent=etag is None)
    except storage.PreconditionFailed:
        winner = read_champion(root, name)
        if winner and winner.version == entry.version:
            return winner
        raise Overtaken(
            f"{name}: somebody else promoted {winner.version if winner else 'a version'} in the same moment; "
            f"{entry.version} is registered, but not the champion; compare the two and run again"
        ) from None
    return champion
