"""When a folder is complete: its manifest is there, and every file that it lists, with its size and SHA-256.

The manifest is written last and replaced as a whole, so a process that is killed at any point leaves a folder that is
complete or is not. Outputs of steps, registered versions and copies of checkpoints are published with it (`artifact`);
checkpoints on a disk and entries of the cache are marked where they were written, without hashes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sharpen import typed_json
from sharpen.errors import InputError
from sharpen.store import local_store
from sharpen.uri import validate_relative_path

MARKER = "_SUCCESS.json"
# that of a cached folder, whose files are a user's: no reader lists a hidden file
CACHE_MARKER = "._SUCCESS.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class _Layout:
    schema_version: int


@dataclass(frozen=True)
class Manifest:
    """What `_SUCCESS.json` says.

    Attributes:
        schema_version: version of the folder's layout.
        producer: the step that wrote the folder.
        run_id: the run that it belongs to.
        rows: table or file -> number of rows.
        files: ``{"name", "size", "sha256"}`` of each file, sorted by name; size in bytes; sha256 may be empty.
        facts: what else the producer says of its output.
        code_version: version of the code that wrote the folder.
        created_at: time of writing, UTC, ISO 8601.
    """

    schema_version: int
    producer: str
    run_id: str
    rows: dict[str, int]
    files: list[dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)
    code_version: str = ""
    created_at: str = ""

    def as_bytes(self) -> bytes:
        """The marker's file."""
        return (json.dumps(asdict(self), ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def parse_manifest(uri: str, data: bytes) -> Manifest:
    """The manifest of the folder at `uri` from its file's bytes. Raises InputError where they are none."""
    where, remedy = f"{uri}: {MARKER}", "write the folder again"
    written = typed_json.parse(_Layout, data, where, remedy=remedy).schema_version
    if written != SCHEMA_VERSION:
        raise InputError(f"{uri}: written with schema version {written}, this code reads {SCHEMA_VERSION}")
    marker: Manifest = typed_json.parse(Manifest, data, where, remedy=remedy)
    kinds = {"name": str, "size": int, "sha256": str}
    for file in marker.files:
        if any(type(file.get(fact)) is not kind for fact, kind in kinds.items()):
            raise InputError(f"{where}: damaged (a file's entry lacks {', '.join(kinds)}); {remedy}")
        validate_relative_path(file["name"], uri)
    return marker


def mark_complete(folder: Path, *, producer: str, marker: str = MARKER) -> None:
    """Say that a local folder is complete as it is: names and sizes of its files, without hashes, which take long.

    Args:
        folder: all of it is written.
        producer: who wrote it.
        marker: name of the manifest's file.
    """
    files = [{"name": name, "size": (folder / name).stat().st_size, "sha256": ""} for name in file_names(folder)]
    local_store.replace(folder / marker, manifest_of(files, producer=producer).as_bytes())


def fault_of(folder: Path, *, marker: str = MARKER) -> str:
    """Why a local folder is not complete, by its manifest and the sizes of its files; empty: it is."""
    try:
        manifest = parse_manifest(str(folder), (folder / marker).read_bytes())
        wrong = first_fault(folder, manifest)
    except (OSError, InputError) as fault:
        return str(fault)
    return f"{wrong} is missing or has another size than {marker} says" if wrong else ""


def first_fault(folder: Path, manifest: Manifest, *, hashes: bool = False) -> str:
    """Name of the first file that is missing or differs from the manifest; empty: none does.

    Args:
        folder: a local folder.
        manifest: of it.
        hashes: compare SHA-256 too, where the manifest has it.
    """
    for file in manifest.files:
        path = folder / file["name"]
        if not path.is_file() or path.stat().st_size != file["size"]:
            return file["name"]
        if hashes and file["sha256"] and local_store.sha256_of(path) != file["sha256"]:
            return file["name"]
    return ""


def file_names(folder: Path, without: Iterable[str] = ()) -> list[str]:
    """Names of the files below a folder, sorted; no manifest is among them."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [name for name in names if name not in (MARKER, CACHE_MARKER, *without)]


def manifest_of(files: list[dict[str, Any]], **facts: Any) -> Manifest:
    """A manifest of these files, written now by this code.

    Args:
        files: ``{"name", "size", "sha256"}`` of each.
        facts: other fields of `Manifest`.
    """
    from sharpen.version import code_version

    empty: dict[str, Any] = {"run_id": "", "rows": {}}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Manifest(SCHEMA_VERSION, files=files, code_version=code_version(), created_at=now, **{**empty, **facts})
