"""What a folder of shards says of itself: for people, and for a check before its vectors are used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sharpen.errors import InputError
from sharpen.typed_json import sha256_json

# Its time of change says when the folder was used last.
DESCRIPTION = "encoder.json"


class WrongDimension(InputError):
    """The cache holds vectors of another length than the model gives."""


def identity_of(facts: Mapping[str, Any]) -> str:
    """The name (40 hex digits) under which the vectors of an encoder with these facts are kept."""
    return sha256_json(facts)[:40]


def source_hash(files: Iterable[Path]) -> str:
    """SHA-256 (hex) of what is in these files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def described(facts: Mapping[str, Any], dimension: int) -> bytes:
    """The file's content: what the vectors depend on, and their length."""
    return (json.dumps({**facts, "dimension": dimension}, indent=2, sort_keys=True) + "\n").encode()


def check_description(content: bytes, where: str, dimension: int) -> None:
    """Check by its encoder.json (`content`) that the vectors at `where` have the length `dimension`.

    Raises:
        WrongDimension: they have not, or the file does not say.
    """
    try:
        stored = json.loads(content)["dimension"]
    except (ValueError, KeyError, TypeError):
        stored = "an unknown number of"
    if stored != dimension:
        raise WrongDimension(
            f"{where}: the vectors kept here have {stored} numbers, the model gives {dimension}; delete the folder or "
            "set encoder.vector_cache to another folder"
        )
