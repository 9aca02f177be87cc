"""The registry: which version of a model is in use or has another name, and how that changes.

``<root>/models/<name>/champion.json`` names the champion. It is replaced by conditional writes only, so that of two
promotions at once one wins and the other learns of it; aliases change in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat

from sharpen import typed_json
from sharpen.errors import InputError, Overtaken
from sharpen.registry import aliases
from sharpen.registry.settings import NAME_PATTERN, VERSION_PATTERN
from sharpen.registry.versions import (
    PROVENANCE,
    Version,
    checked_name,
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
    "change_champion",
    "list_models",
    "list_versions",
    "promote",
    "provenance",
    "read_champion",
    "register",
    "remove_alias",
    "rollback",
    "set_alias",
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
        retired: versions that are being deleted, which nobody may promote any more.
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
    retired: list[VersionName] = field(default_factory=list)
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
    """Facts of one version, of the champion, or of what an alias stands for. Raises InputError when there is none."""
    if version == CHAMPION:
        present = read_champion(root, name)
        if present is None:
            raise InputError(unknown_model(root, name) or f"{name}: no version was promoted yet; name one, like v0001")
        version = present.version
    elif not re.fullmatch(VERSION_PATTERN, version) and re.fullmatch(NAME_PATTERN, version):
        alias, _ = aliases.read(root, name, version)
        version = alias.version if alias else version
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
    if present and version in present.retired:
        raise _deleted(name, version)
    history = [*present.history, present.version][-HISTORY:] if present else []
    evaluations = {**(present.evaluations if present else {}), entry.version: evaluation}
    return _switch(root, name, entry, present, reason=reason, history=history, evaluations=evaluations, etag=etag)


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
    return _switch(root, name, entry, present, reason=why, history=history, evaluations=evaluations, etag=etag)


def set_alias(root: str, name: str, version: str, alias: str) -> str:
    """Let an alias stand for a registered version; the version that it stood for before, empty for none.

    Raises:
        InputError: there is no such version, or nothing may be called so.
        Overtaken: somebody else changed the alias in between.
    """
    before, etag = aliases.read(root, name, aliases.checked_alias(alias))
    read_version(root, name, version)
    try:
        written = aliases.write(root, name, alias, version, etag)
        # a collection looks at the aliases after it has retired a version: one of the two sees the other
        if (present := read_champion(root, name)) and version in present.retired:
            if before and before.version not in present.retired:
                aliases.write(root, name, alias, before.version, written)
            else:
                storage.delete(aliases.address(root, name, alias))
            raise _deleted(name, version)
    except storage.PreconditionFailed:
        raise Overtaken(
            f"{name}: somebody else changed the alias {alias} in the same moment; look at it again"
        ) from None
    return before.version if before else ""


def remove_alias(root: str, name: str, alias: str) -> None:
    """Let an alias stand for nothing. Raises InputError when there is none of that name."""
    if aliases.read(root, name, aliases.checked_alias(alias))[0] is None:
        known = ", ".join(aliases.list_aliases(root, name)) or "none"
        raise InputError(unknown_model(root, name) or f"{name}: no alias {alias}; there are: {known}")
    storage.delete(aliases.address(root, name, alias))


def change_champion(root: str, name: str, change: Callable[[Champion], Champion | None]) -> Champion | None:
    """Replace the pointer by `change` of it, again where somebody was quicker; None where there is no champion.

    Args:
        root, name: of the registry and of the model.
        change: gives the new pointer; None: it stays as it is.
    """
    while True:
        present, etag = _champion_and_etag(root, name)
        if present is None or (changed := change(present)) is None:
            return present
        try:
            storage.write_json(_pointer(root, name), asdict(changed), if_match=etag)
            return changed
        except storage.PreconditionFailed:
            continue


def _deleted(name: str, version: str) -> InputError:
    return InputError(f"{name}: {version} is being deleted (sharpen gc); name another version")


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
    present: Champion | None,
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
        retired=present.retired if present else [],
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
