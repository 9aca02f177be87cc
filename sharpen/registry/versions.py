"""Numbered versions of models: how they are laid out, read, and added.

``<root>/models/<name>/versions/v0001/`` is a finished folder: the model as the fine-tuning step wrote it, and
``provenance.json``. Who may write a version is settled in `claims`, so that two promotions at once never write the same
one, and the same model is never registered twice.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import FiniteFloat

from sharpen import typed_json
from sharpen.errors import InputError, StepFailed
from sharpen.registry import claims
from sharpen.registry.settings import NAME_PATTERN, NAME_RULE, VERSION_PATTERN
from sharpen.store import storage

PROVENANCE = "provenance.json"
# What tells of a model's making, not of its embeddings: two runs that make the same weights make the same model.
_TOLD_ABOUT = ("README.md", "training.json", "merging.json", PROVENANCE)


@dataclass(frozen=True)
class Version:
    """A registered model.

    Attributes:
        version: its number, for example ``v0001``.
        address: of its folder.
        content: SHA-256 over names and hashes of the files that determine the embeddings.
        run_id: the run that made it.
        created_at: UTC, ISO 8601.
        metrics: metric -> mean over the test queries.
    """

    version: str
    address: str
    content: str
    run_id: str
    created_at: str
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Provenance:
    metrics: dict[str, FiniteFloat] = field(default_factory=dict)


def checked_name(name: str) -> str:
    """`name` if a model may be called so. Raises InputError."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise InputError(f"model_name: {name!r} cannot be the name of a model; {NAME_RULE}")
    return name


def version_address(root: str, name: str, version: str) -> str:
    """Where a version's folder is."""
    return storage.join(_versions(root, name), version)


def index_address(version: str) -> str:
    """Where the index of a registered version is: ``models/<name>/indexes/<version>``, next to ``versions/<version>``.

    Raises:
        InputError: the address is not that of a version in a registry.
    """
    location, mark, query = version.partition("?")
    folder, _, number = location.rstrip("/").rpartition("/")
    if not folder.endswith("/versions"):
        raise InputError(f"{version}: not a version in a registry (<root>/models/<name>/versions/<version>)")
    return f"{folder.removesuffix('/versions')}/indexes/{number}{mark}{query}"


def content_of(files: list[dict[str, Any]]) -> str:
    """SHA-256 over the files of a model (as its marker lists them) that determine its embeddings."""
    named = sorted((file["name"], file["sha256"]) for file in files if file["name"] not in _TOLD_ABOUT)
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def list_models(root: str) -> list[str]:
    """Names of the models that have a version, sorted."""
    names = storage.list_folders(storage.join(root, "models"))
    return [name for name in names if re.fullmatch(NAME_PATTERN, name) and list_versions(root, name)]


def list_versions(root: str, name: str) -> list[str]:
    """Versions of a model, oldest first; half-written ones are not among them."""
    found = claims.numbered(storage.list_folders(_versions(root, name)))
    return [version for version in found if storage.is_complete(version_address(root, name, version))]


def read_version(root: str, name: str, version: str) -> Version:
    """Facts of one version. Raises InputError when there is none of that name."""
    if not re.fullmatch(VERSION_PATTERN, version) or not storage.is_complete(version_address(root, name, version)):
        known = ", ".join(list_versions(root, name)[-10:])
        raise InputError(unknown_model(root, name) or f"{name}: no version {version!r}; there are: {known}")
    address = version_address(root, name, version)
    marker = storage.read_manifest(address)
    where = storage.join(address, PROVENANCE)
    made: _Provenance = typed_json.parse(_Provenance, storage.read_bytes(where), where)
    return Version(version, address, _content_said(marker, address), marker.run_id, marker.created_at, made.metrics)


def unknown_model(root: str, name: str) -> str:
    """Why there is no such model, in one line; empty when there is."""
    known = list_models(root)
    if name in known:
        return ""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}" if known else "it is empty"
    return f"{name}: no such model in the registry {root}; {hint}"


def _content_said(marker: storage.Manifest, address: str) -> str:
    content = marker.facts.get("content") if isinstance(marker.facts, dict) else None
    if not isinstance(content, str):
        raise InputError(
            f"{address}: {storage.MARKER} is damaged (it does not say which model it is); delete this version"
        )
    return content


def _find(root: str, name: str, versions: list[str], content: str) -> Version | None:
    """The one of these versions that has the content; a damaged one is none."""
    for version in versions:
        address = version_address(root, name, version)
        with contextlib.suppress(InputError):
            if _content_said(storage.read_manifest(address), address) == content:
                return read_version(root, name, version)
    return None


def register(
    root: str, name: str, model: str, facts: dict[str, Any], *, run_id: str, card: Callable[[str], str] | None = None
) -> Version:
    """Copy a model into the registry as its next version; content that is there already keeps its version.

    A registration that was killed is completed by the next one of the same model, under its number.

    Args:
        root: of the registry.
        name: of the model.
        model: address of the model's finished folder.
        facts: for provenance.json; ``metrics`` among them are shown with the version.
        run_id: the run that made the model.
        card: makes the version's model card of the model's README.md, which is empty where it has none.

    Raises:
        InputError: the name cannot be used, or there is no finished model at the address.
        StepFailed: files differ from what the model's marker says, or this process was taken for dead meanwhile.
    """
    checked_name(name)
    source = storage.read_manifest(model)
    content = content_of(source.files)
    known = list_versions(root, name)
    if made := _find(root, name, known, content):
        return made
    folder = storage.open_artifact(model)
    claim = claims.take(storage.join(root, "models", name, "claims"), _versions(root, name), content, run_id, known)
    if isinstance(claim, str):
        made = read_version(root, name, claim)
        if made.content != content:
            raise StepFailed(f"{made.address}: the files are not those of its claim; delete the version, and run again")
        return made
    version, address = claim.version, version_address(root, name, claim.version)
    marked = {"content": content, "model_name": name, "version": version}
    with claim:
        storage.delete_unfinished(address)
        with storage.publish(address, producer="promotion", run_id=run_id, rows=source.rows, facts=marked) as target:
            for file in source.files:
                (target / file["name"]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / file["name"], target / file["name"])
            if card is not None:
                readme = target / "README.md"
                readme.write_text(card(readme.read_text(encoding="utf-8") if readme.exists() else ""), encoding="utf-8")
            written = {**facts, "content": content, "model_name": name, "version": version, "source": model}
            (target / PROVENANCE).write_text(
                json.dumps(written, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False) + "\n",
                encoding="utf-8",
            )
        claim.check()
    return read_version(root, name, version)


def _versions(root: str, name: str) -> str:
    return storage.join(root, "models", checked_name(name), "versions")
