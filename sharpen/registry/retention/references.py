"""Which folders need which: the addresses that a finished folder names in its own files.

A version names its evaluation, the model that it was copied from, and what that was trained with; an evaluation its
data and the evaluations that it compared with; and so on. What is reached from a version that stays, stays. Whom a
model was only compared with it does not need: else the champions before it would stay for ever.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from sharpen.errors import StepFailed
from sharpen.store import storage

NAMING = (
    "provenance.json",
    "training.json",
    "merging.json",
    "facts.json",
    "comparison.json",
    "report.json",
    "manifest.json",
)
"""Files of finished folders that name others, besides the marker's facts."""


_COMPARED = {"provenance.json": ("comparison", "gate"), "evaluation": ("model",)}
"""File, or producer of a folder -> names of what is only a comparison's."""


def key_of(address: str) -> str:
    """An address without what does not change its meaning, by which folders are compared."""
    if storage.is_remote(address):
        return "//" + address.partition("://")[2].partition("?")[0].rstrip("/")
    return str(Path(address).expanduser().resolve()) if address else ""


def reached(starts: Iterable[str], folders: dict[str, str]) -> set[str]:
    """Keys of the folders that are needed by those at the start, directly or through others; these among them.

    Args:
        starts: keys.
        folders: key -> address of every finished folder.
    """
    found: set[str] = set()
    waiting = [key for key in starts if key in folders]
    while waiting:
        key = waiting.pop()
        if key in found:
            continue
        found.add(key)
        waiting += [other for other in _named(folders[key], folders) if other not in found]
    return found


def _named(address: str, folders: Collection[str]) -> Iterator[str]:
    """Keys of the folders that a folder names, or that hold what it names."""
    for text in _texts(address):
        if "/" not in text or len(text) > 4096 or "\n" in text:
            continue
        key = key_of(text)
        while len(key) > 2:
            if key in folders:
                yield key
                break
            key = key.rpartition("/")[0]


def _texts(address: str) -> Iterator[str]:
    marker = storage.read_manifest(address)
    compared = _COMPARED.get(marker.producer, ())
    yield from _strings(marker.facts, compared)
    names = {file["name"] for file in marker.files}
    for name in NAMING:
        if name in names:
            where = storage.join(address, name)
            try:
                value = json.loads(storage.read_bytes(where))
            except ValueError as error:
                raise StepFailed(f"{where}: damaged ({error}), so that what it needs is not known") from None
            yield from _strings(value, (*compared, *_COMPARED.get(name, ())))


def _strings(value: Any, without: Collection[str]) -> Iterator[str]:
    """All texts in a value of JSON's, except those under some names."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, part in value.items():
            if name not in without:
                yield from _strings(part, without)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part, without)
