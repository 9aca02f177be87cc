"""Numbered versions of models: how they are laid out, read, and added.

``<root>/models/<name>/versions/v0001/`` is a finished folder: the model as the fine-tuning step wrote it, and
``provenance.json``. ``<root>/models/<name>/claims/v0001.json`` is written, only if absent, by who is about to write the
version, so that two promotions at once never take the same number.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import secrets
import shutil
import time
from dataclasses import dataclass, field
from typing import Any

from components.core import storage
from components.core.errors import InputError
from components.promotion.settings import NAME_PATTERN, NAME_RULE

PROVENANCE = "provenance.json"
# What tells of a model's making, not of its embeddings: two runs that make the same weights make the same model.
_TOLD_ABOUT = ("README.md", "training.json", PROVENANCE)
# a claim without a version that is older than this belongs to a process that has died
CLAIM_SECONDS = 120
_VERSION = re.compile(r"^v(\d{4,})$")


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


def checked_name(name: str) -> str:
    """`name` if a model may be called so. Raises InputError."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise InputError(f"model_name: {name!r} cannot be the name of a model; {NAME_RULE}")
    return name


def version_address(root: str, name: str, version: str) -> str:
    """Where a version's folder is."""
    return storage.join(_versions(root, name), version)


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
    found = _numbered(storage.list_folders(_versions(root, name)))
    return [version for version in found if storage.is_finished(version_address(root, name, version))]


def read_version(root: str, name: str, version: str) -> Version:
    """Facts of one version. Raises InputError when there is none of that name."""
    if not _VERSION.match(version) or not storage.is_finished(version_address(root, name, version)):
        known = ", ".join(list_versions(root, name)[-10:])
        raise InputError(unknown_model(root, name) or f"{name}: no version {version!r}; there are: {known}")
    address = version_address(root, name, version)
    marker = storage.read_marker(address)
    metrics = storage.read_json(storage.join(address, PROVENANCE)).get("metrics", {})
    return Version(version, address, marker.facts["content"], marker.run_id, marker.created_at, metrics)


def unknown_model(root: str, name: str) -> str:
    """Why there is no such model, in one line; empty when there is."""
    known = list_models(root)
    if name in known:
        return ""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}" if known else "it is empty"
    return f"{name}: no such model in the registry {root}; {hint}"


def find(root: str, name: str, content: str) -> Version | None:
    """The registered version with this content, if there is one."""
    for version in list_versions(root, name):
        if storage.read_marker(version_address(root, name, version)).facts.get("content") == content:
            return read_version(root, name, version)
    return None


def register(root: str, name: str, model: str, facts: dict[str, Any], *, run_id: str, card: str = "") -> Version:
    """Copy a model into the registry as its next version; content that is there already keeps its version.

    Args:
        root: of the registry.
        name: of the model.
        model: address of the model's finished folder.
        facts: for provenance.json; ``metrics`` among them are shown with the version.
        run_id: the run that made the model.
        card: Markdown that is put at the end of the model card.

    Raises:
        InputError: the name cannot be used, or there is no finished model at the address.
        StepFailed: files differ from what the model's marker says.
    """
    checked_name(name)
    source = storage.read_marker(model)
    content = content_of(source.files)
    if known := find(root, name, content):
        return known
    folder = storage.open_folder(model)
    version = _claim(root, name, content)
    if known := _made_meanwhile(root, name, content, version):
        return known
    marked = {"content": content, "model_name": name, "version": version}
    address = version_address(root, name, version)
    with storage.new_folder(address, producer="promotion", run_id=run_id, rows=source.rows, facts=marked) as target:
        for file in source.files:
            (target / file["name"]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file["name"], target / file["name"])
        if card:
            readme = target / "README.md"
            text = readme.read_text(encoding="utf-8") if readme.exists() else f"# {name}\n"
            readme.write_text(f"{text.rstrip()}\n\n{card.strip()}\n", encoding="utf-8")
        written = {**facts, "content": content, "model_name": name, "version": version, "source": model}
        (target / PROVENANCE).write_text(
            json.dumps(written, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8"
        )
    return read_version(root, name, version)


def _versions(root: str, name: str) -> str:
    return storage.join(root, "models", checked_name(name), "versions")


def _claims(root: str, name: str) -> str:
    return storage.join(root, "models", checked_name(name), "claims")


def _numbered(names: list[str]) -> list[str]:
    return sorted((name for name in names if _VERSION.match(name)), key=lambda name: int(name[1:]))


def _claimed(root: str, name: str) -> list[str]:
    return _numbered([file.name.removesuffix(".json") for file in storage.list_files(_claims(root, name))])


def _claim(root: str, name: str, content: str) -> str:
    """Take the next free number."""
    while True:
        taken = _numbered([*storage.list_folders(_versions(root, name)), *_claimed(root, name)])
        version = f"v{(int(taken[-1][1:]) if taken else 0) + 1:04}"
        # the token makes each claim unlike any other, so that a store cannot take two for one
        claim = {"content": content, "token": secrets.token_hex(8), "claimed_at": time.time()}
        try:
            storage.write_json(storage.join(_claims(root, name), f"{version}.json"), claim, if_absent=True)
            return version
        except storage.PreconditionFailed:
            continue


def _made_meanwhile(root: str, name: str, content: str, version: str) -> Version | None:
    """The version that another promotion of the same content makes under a lower number; waits for it."""
    for other in _claimed(root, name):
        if int(other[1:]) >= int(version[1:]):
            break
        claim = storage.read_json(storage.join(_claims(root, name), f"{other}.json"))
        if claim["content"] != content:
            continue
        while not (finished := storage.is_finished(version_address(root, name, other))):
            if time.time() - claim["claimed_at"] > CLAIM_SECONDS:
                break
            time.sleep(0.2)
        if finished:
            return read_version(root, name, other)
    return None
