"""What a model's folder says about pooling, normalisation, prompts and towers.

The files are those of sentence-transformers (``modules.json``, ``1_Pooling/config.json``,
``config_sentence_transformers.json``), written in the form that its versions 2 to 6 all read. Two towers are its
``Router`` with the routes ``query`` and ``document`` (versions 5 and 6), each with a folder of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.core.errors import InputError

ROUTER = "router_config.json"
# Kind of text -> route of a `Router`.
ROUTES = {"query": "query", "passage": "document"}

_POOLING_KEYS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "last_token": "pooling_mode_lasttoken",
}
_POOLING_NAMES = {"cls": "cls", "mean": "mean", "lasttoken": "last_token", "last_token": "last_token"}
_KNOWN = ("Transformer", "Pooling", "Normalize", "Router")


@dataclass(frozen=True)
class Facts:
    """What a model's folder says.

    Attributes:
        pooling: ``cls``, ``mean`` or ``last_token``; None: the folder does not say, or was not asked.
        embedder: whether it is a sentence-transformers folder, which says how texts become embeddings.
        normalize: whether embeddings are normalised.
        prompts: text before every ``query`` and ``passage``.
        towers: where in the folder the transformer of each kind of text is; one for all is of the kind ``passage``.
    """

    pooling: str | None = None
    embedder: bool = False
    normalize: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    towers: Mapping[str, str] = field(default_factory=lambda: {"passage": ""})


def read_facts(folder: Path, asked: str = "auto") -> Facts:
    """What the folder says; a plain transformers folder without these files gives the defaults of `Facts`.

    Args:
        folder: local folder of the model.
        asked: `EncoderSettings.sentence_pooling_method`; another one than ``auto`` stands in for the folder's own.

    Raises:
        InputError: the folder asks for something that would be left out: another pooling, or other modules.
    """
    modules = _json(folder / "modules.json", [])
    paths = _by_type(folder, [(str(module.get("type", "")), str(module.get("path", ""))) for module in modules])
    if "Router" in paths:
        pooling, normalize, towers = _routes(folder, paths["Router"], asked)
    else:
        pooling, normalize, towers = _pooling(folder, paths, asked), False, {"passage": ""}
    stored = _json(folder / "config_sentence_transformers.json", {}).get("prompts") or {}
    names = {"query": ("query",), "passage": ("passage", "document", "corpus")}
    prompts = {kind: next((stored[n] for n in keys if stored.get(n)), "") for kind, keys in names.items()}
    return Facts(pooling, bool(modules), normalize or "Normalize" in paths, prompts, towers)


def _by_type(folder: Path, modules: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Name of a module's type -> its path."""
    found = {kind.rsplit(".", 1)[-1]: path for kind, path in modules}
    if unknown := [name for name in found if name not in _KNOWN]:
        raise InputError(
            f"{folder}: has the module {', '.join(unknown)}, and without it embeddings would be others; "
            f"models are made of {', '.join(_KNOWN)}"
        )
    return found


def _routes(folder: Path, path: str, asked: str) -> tuple[str | None, bool, dict[str, str]]:
    """Pooling, normalisation and towers of a `Router`."""
    place = folder / path / ROUTER
    router = _json(place, {})
    structure, types = router.get("structure") or {}, router.get("types") or {}
    towers, said = {}, set()
    for kind, route in ROUTES.items():
        parts = _by_type(
            folder, [(str(types.get(name, "")), str(Path(path, name))) for name in structure.get(route, ())]
        )
        if "Transformer" not in parts:
            raise InputError(f"{place}: the route {route} has no Transformer; two towers are routes query and document")
        towers[kind] = parts["Transformer"]
        said.add((_pooling(folder, parts, asked), "Normalize" in parts))
    if len(said) > 1:
        raise InputError(f"{place}: its routes differ in pooling or normalisation; make them agree")
    return *said.pop(), towers


def _pooling(folder: Path, paths: Mapping[str, str], asked: str) -> str | None:
    if "Pooling" not in paths or asked != "auto":
        return None
    path = folder / paths["Pooling"] / "config.json"
    config = _json(path, {})
    modes = {key.removeprefix("pooling_mode_") for key, on in config.items() if key.startswith("pooling_mode_") and on}
    by_key = {key.removeprefix("pooling_mode_"): name for name, key in _POOLING_KEYS.items()}
    if "pooling_mode" in config:
        mode = config["pooling_mode"]
        modes, by_key = ({mode} if isinstance(mode, str) else set(mode)), _POOLING_NAMES
    if len(modes) != 1 or not modes <= by_key.keys() or config.get("include_prompt") is False:
        raise InputError(f"{path}: a pooling that Sharpen does not know; set encoder.sentence_pooling_method")
    return by_key[modes.pop()]


def _json(path: Path, default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None


def tower_folders(kinds: Sequence[str]) -> dict[str, str]:
    """Where in a new folder the transformer of each kind is written."""
    return {kind: f"{ROUTES[kind]}_0_Transformer" for kind in kinds} if len(kinds) > 1 else dict.fromkeys(kinds, "")


def write_facts(folder: Path, facts: Facts, *, dimension: int, max_lengths: Mapping[str, int]) -> None:
    """Write the files that make folders of transformers, at `facts.towers`, a sentence-transformers folder.

    Args:
        folder: the whole folder.
        facts: what it shall say.
        dimension: length of an embedding.
        max_lengths: most tokens of each kind; a folder of one tower can only say one number, the larger.
    """
    parts = [("", "Transformer"), ("1_Pooling", "Pooling")]
    if len(facts.towers) > 1:
        _write_router(folder, facts, dimension, max_lengths)
        parts = [("", "Router")]
    else:
        _write_pooling(folder / "1_Pooling", facts, dimension)
        _write_length(folder, max(max_lengths.values()))
    if facts.normalize:
        parts.append((f"{len(parts)}_Normalize", "Normalize"))
        _write(folder / parts[-1][0] / "config.json", {})
    _write(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (path, kind) in enumerate(parts)
        ],
    )
    prompts = {"query": facts.prompts.get("query", ""), "document": facts.prompts.get("passage", "")}
    _write(
        folder / "config_sentence_transformers.json",
        {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine" if facts.normalize else "dot"},
    )


def _write_router(folder: Path, facts: Facts, dimension: int, max_lengths: Mapping[str, int]) -> None:
    types, structure = {}, {}
    for kind, tower in facts.towers.items():
        route = ROUTES[kind]
        pooling = f"{route}_1_Pooling"
        _write_length(folder / tower, max_lengths[kind])
        _write_pooling(folder / pooling, facts, dimension)
        types |= {tower: "sentence_transformers.models.Transformer", pooling: "sentence_transformers.models.Pooling"}
        structure[route] = [tower, pooling]
    parameters = {"default_route": ROUTES["passage"], "allow_empty_key": True}
    _write(folder / ROUTER, {"types": types, "structure": structure, "parameters": parameters})


def _write_pooling(folder: Path, facts: Facts, dimension: int) -> None:
    pooling = {key: name == facts.pooling for name, key in _POOLING_KEYS.items()}
    _write(folder / "config.json", {"word_embedding_dimension": dimension, **pooling})


def _write_length(folder: Path, longest: int) -> None:
    _write(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False})


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
