"""The systems of a comparison as settings name them. Nothing heavy is imported here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

BM25, FUSION, MINMAX_FUSION = "bm25", "fusion", "fusion-minmax"
FUSIONS = (FUSION, MINMAX_FUSION)
RERANKED, BM25_RERANKED = "reranked", "bm25-reranked"
MODEL = "model"
# what comparisons call other things
_RESERVED = ("base", "champion", "full", BM25, *FUSIONS, RERANKED, BM25_RERANKED)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# ends of addresses that say nothing of a model
_GENERIC = ("model", "models", "finetuning", "output", "out", "snapshot")


@dataclass(frozen=True)
class System:
    """One system.

    Attributes:
        name: what comparisons call it.
        kind: ``bm25``, ``fusion``, ``fusion-minmax`` or ``model``.
        address: of a model.
    """

    name: str
    kind: str
    address: str = ""


def parse_references(values: Sequence[str], *, reserved: Sequence[str] = _RESERVED) -> dict[str, str]:
    """Name -> address of values ``name=address`` or of addresses alone, which are called by their end.

    Raises:
        ValueError: a name that is malformed, reserved or used twice.
    """
    found: dict[str, str] = {}
    for value in values:
        name, address = _named(value.strip())
        if not address:
            raise ValueError(f"{value!r}: no address; write an address, or name=address")
        if name in reserved:
            raise ValueError(f"{value!r}: the name {name} is taken; write NAME={address} with another name")
        if name in found:
            raise ValueError(f"{value!r}: two are called {name}; write NAME={address} with another name")
        found[name] = address
    return found


def parse_systems(values: Sequence[str]) -> list[System]:
    """The systems that `values` name, in their order. Raises ValueError as `parse_references`."""
    known = {BM25, *FUSIONS}
    words = [value.strip() for value in values]
    if repeated := next((word for number, word in enumerate(words) if word in known and word in words[:number]), None):
        raise ValueError(f"{repeated} is named twice")
    models = parse_references([word for word in words if word not in known])
    named = iter(models.items())
    return [System(word, word) if word in known else System(*_of_model(next(named))) for word in words]


def _of_model(named: tuple[str, str]) -> tuple[str, str, str]:
    return named[0], MODEL, named[1]


def _named(value: str) -> tuple[str, str]:
    name, sign, address = value.partition("=")
    if sign and not name:
        raise ValueError(f"{value!r}: has no name; write NAME{value}")
    # an s3:// address may hold = in its options
    if sign and _NAME.fullmatch(name):
        return name, address
    parts = [part for part in value.partition("?")[0].split("/") if part]
    while len(parts) > 1 and parts[-1] in _GENERIC:
        parts.pop()
    name = re.sub(r"[^A-Za-z0-9._-]", "-", parts[-1].rpartition(":")[2] if parts else "").strip("-._")[:64]
    if not name:
        raise ValueError(f"{value!r}: has no name; write NAME={value}")
    return name, value
