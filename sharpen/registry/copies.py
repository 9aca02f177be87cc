"""Copies of a version outside the registry: as it is registered, or as a folder for a model hub."""

from __future__ import annotations

import shutil
from pathlib import Path

from sharpen.errors import InputError, StepFailed
from sharpen.registry import registry
from sharpen.registry.registry import CHAMPION
from sharpen.registry.versions import PROVENANCE, Version, content_of
from sharpen.store import local_store, storage

# what a hub stores outside git, and what of a version means something in its registry alone
GIT_ATTRIBUTES = "".join(
    f"*.{kind} filter=lfs diff=lfs merge=lfs -text\n" for kind in ("safetensors", "bin", "model", "onnx")
)
INTERNAL = (PROVENANCE, "training.json", "merging.json")


def pull(root: str, name: str, version: str, target: Path) -> Path:
    """Copy a version to a local folder, the hashes of its files checked.

    Args:
        root, name: of the registry and of the model.
        version: for example ``v0001``, ``champion`` or an alias.
        target: the folder; an earlier copy there is replaced, and what others put into it stays. A folder with other
            files alone is refused.

    Raises:
        InputError: no such model or version, or the target holds other files.
        StepFailed: a file is damaged, or the champion is not the model that was promoted.
    """
    entry, marker = _checked(root, name, version)
    _check_target(root, target.expanduser(), [file["name"] for file in marker.files])
    storage.copy_artifact(entry.address, str(target))
    return target


def export(root: str, name: str, version: str, target: Path) -> Path:
    """Write a version as a model hub takes it: model card, weights and configuration, and nothing of this registry.

    Args:
        root, name, version: as `pull` takes them.
        target: a folder that is new or empty.

    Raises: as `pull`.
    """
    entry, marker = _checked(root, name, version)
    target = target.expanduser()
    _check_outside(root, target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: is there already and not empty; name a new folder")
    source = storage.open_artifact(entry.address)
    with local_store.translate_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        made = local_store.temp_sibling(target)
        try:
            for file in marker.files:
                if file["name"] not in INTERNAL:
                    (made / file["name"]).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source / file["name"], made / file["name"])
            (made / ".gitattributes").write_text(GIT_ATTRIBUTES, encoding="utf-8")
            # an empty folder is replaced
            made.rename(target)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return target


def _checked(root: str, name: str, version: str) -> tuple[Version, storage.Manifest]:
    """A version whose files are those that were registered and, of a champion, promoted."""
    present = registry.read_champion(root, name) if version == CHAMPION else None
    entry = registry.show(root, name, present.version if present else version)
    marker = storage.read_manifest(entry.address)
    if content_of(marker.files) != entry.content:
        raise StepFailed(f"{entry.address}: the files are not those that were registered; do not use them")
    if present and present.content != entry.content:
        raise StepFailed(f"{entry.address}: not the content that was promoted; do not use it")
    return entry, marker


def _check_outside(root: str, target: Path) -> None:
    if not storage.is_remote(root) and target.resolve().is_relative_to(Path(root).expanduser().resolve() / "models"):
        raise InputError(f"{target}: lies in the registry itself; name another folder")


def _check_target(root: str, target: Path, names: list[str]) -> None:
    """Only what an earlier pull wrote may be replaced."""
    _check_outside(root, target)
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
