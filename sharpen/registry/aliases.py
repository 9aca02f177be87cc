"""Names for versions besides champion, such as ``staging``: ``<root>/models/<name>/aliases/<alias>.json``."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from sharpen import typed_json
from sharpen.errors import InputError
from sharpen.registry.settings import NAME_PATTERN, NAME_RULE, VERSION_PATTERN
from sharpen.registry.versions import checked_name
from sharpen.store import storage

RESERVED = ("champion", "base")


@dataclass(frozen=True)
class Alias:
    """What an alias stands for.

    Attributes:
        version: the version.
        set_at: UTC, ISO 8601.
    """

    version: Annotated[str, Field(pattern=VERSION_PATTERN)]
    set_at: str


def checked_alias(alias: str) -> str:
    """`alias` if a version may be called so. Raises InputError."""
    if alias in RESERVED or re.fullmatch(VERSION_PATTERN, alias) or not re.fullmatch(NAME_PATTERN, alias):
        raise InputError(
            f"{alias!r} cannot be an alias; {NAME_RULE}, and not {', '.join(RESERVED)} or the number of a version"
        )
    return alias


def read(root: str, name: str, alias: str) -> tuple[Alias | None, str | None]:
    """An alias and its ETag; None where there is none. Raises InputError for a damaged file."""
    where = address(root, name, alias)
    try:
        data, etag = storage.read_with_etag(where)
    except storage.NotFound:
        return None, None
    return typed_json.parse(Alias, data, where, remedy="delete it, and set the alias again"), etag


def write(root: str, name: str, alias: str, version: str, etag: str | None) -> str:
    """Let an alias stand for a version, if it is still as `read` found it; its ETag. Raises PreconditionFailed."""
    made = Alias(version, datetime.now(UTC).isoformat(timespec="seconds"))
    return storage.write_json(address(root, name, alias), asdict(made), if_match=etag, if_absent=etag is None)


def list_aliases(root: str, name: str) -> dict[str, str]:
    """Alias -> version, by name."""
    files = storage.list_files(storage.join(root, "models", checked_name(name), "aliases"))
    names = [file.name.removesuffix(".json") for file in files if file.name.endswith(".json")]
    found = {alias: read(root, name, alias)[0] for alias in names}
    return {alias: one.version for alias, one in found.items() if one}


def address(root: str, name: str, alias: str) -> str:
    """Where an alias is."""
    return storage.join(root, "models", checked_name(name), "aliases", f"{alias}.json")
