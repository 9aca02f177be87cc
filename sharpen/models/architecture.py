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

from sharpen.errors import InputError

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


# The file of a Transformer module with its longest text, by the names that it has had.
_LENGTH_FILES = ("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_distilbert_config.json")
_LENGTH_FILES += ("sentence_camembert_config.json", "sentence_albert_config.json", "sentence_xlm-roberta_config.json")
_LENGTH_FILES += ("sentence_xlnet_config.json",)
# Names of prompts that sentence-transformers' encode_query and encode_document take.
_PROMPT_NAMES = {"query": ("query",), "passage": ("passage", "document", "corpus")}


@dataclass(frozen=True)
class Architecture:
    """What a model's folder says.

    Attributes:
        pooling: ``cls``, ``mean`` or ``last_token``; None: the folder does not say, or another one is used.
        embedder: whether it is a sentence-transformers folder, which says how texts become embeddings.
        normalize: whether embeddings are normalised.
        prompts: text before every ``query`` and ``passage``.
        towers: where in the folder the transformer of each kind of text is; one for all is of the kind ``passage``.
        named_prompts: every other prompt by its name.
        max_lengths: longest ``query`` and ``passage`` in tokens, where the folder says it.
    """

    pooling: str | None = None
    embedder: bool = False
    normalize: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    towers: Mapping[str, str] = field(default_factory=lambda: {"passage": ""})
    named_prompts: Mapping[str, str] = field(default_factory=dict)
    max_lengths: Mapping[str, int] = field(default_factory=dict)


def read_architecture(folder: Path, requested: str = "auto") -> Architecture:
    """What the folder says; a plain transformers folder without these files gives the defaults of `Architecture`.

    Args:
        folder: local folder of the model.
        requested: `EncoderSettings.sentence_pooling_method`; another one than ``auto`` replaces the folder's.

    Raises:
        InputError: a file is damaged or names a path outside of the folder, or the folder asks for something that would
            be left out: another pooling, or other modules.
    """
    modules = _modules(folder)
    paths = _by_type(folder, modules)
    if "Router" in paths:
        pooling, normalize, towers = _routes(folder, paths["Router"], requested)
    else:
        pooling, normalize = _pooling(folder, paths, requested), False
        towers = {"passage": paths.get("Transformer", "")}
    prompts, named = _prompts(folder / "config_sentence_transformers.json")
    lengths = {kind: _length(folder / path) for kind, path in ({"query": towers["passage"]} | towers).items()}
    return Architecture(
        pooling,
        bool(modules),
        normalize or "Normalize" in paths,
        prompts,
        towers,
        named,
        {kind: length for kind, length in lengths.items() if length is not None},
    )


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Type and path of each module."""
    path = folder / "modules.json"
    found = _json(path, [], list)
    for entry in found:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key, ""), str) for key in ("type", "path")):
            raise InputError(f"{path}: each module must be an object with a type and a path, not {_short(entry)}")
    return [(entry.get("type", ""), inside(path, entry.get("path", ""))) for entry in found]


def inside(file: Path, path: str) -> str:
    """`path` as it stands in a file of a model folder; raises InputError where it would leave the folder."""
    parts = Path(path).parts
    if Path(path).is_absolute() or ".." in parts or "\\" in path or "\0" in path:
        raise InputError(f"{file}: the path {_short(path)} leaves the model's folder; paths must stay inside of it")
    return path


def _prompts(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The prompts of queries and passages, and all others by name."""
    stored = _json(path, {}, dict).get("prompts") or {}
    if not isinstance(stored, dict) or not all(isinstance(prompt, str | None) for prompt in stored.values()):
        raise InputError(f"{path}: prompts must be an object of texts, not {_short(stored)}")
    prompts = {kind: next((stored[n] for n in names if stored.get(n)), "") for kind, names in _PROMPT_NAMES.items()}
    reserved = {name for names in _PROMPT_NAMES.values() for name in names}
    return prompts, {name: prompt or "" for name, prompt in stored.items() if name not in reserved}


def _length(tower: Path) -> int | None:
    for name in _LENGTH_FILES:
        longest = _json(tower / name, {}, dict).get("max_seq_length")
        if longest is not None:
            if not isinstance(longest, int) or isinstance(longest, bool) or longest < 1:
                raise InputError(
                    f"{tower / name}: max_seq_length must be a whole number above 0, not {_short(longest)}"
                )
            return longest
    return None


def _by_type(folder: Path, modules: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Name of a module's type -> its path."""
    found = {kind.rsplit(".", 1)[-1]: path for kind, path in modules}
    if unknown := [name for name in found if name not in _KNOWN]:
        raise InputError(
            f"{folder}: has the module {_short(', '.join(unknown))}, and without it embeddings would be others; "
            f"models are made of {', '.join(_KNOWN)}"
        )
    return found


def _routes(folder: Path, path: str, requested: str) -> tuple[str | None, bool, dict[str, str]]:
    """Pooling, normalisation and towers of a `Router`."""
    file = folder / path / ROUTER
    router = _json(file, {}, dict)
    structure, types = router.get("structure") or {}, router.get("types") or {}
    texts = isinstance(types, dict) and all(isinstance(kind, str) for kind in types.values())
    if not texts or not isinstance(structure, dict):
        raise InputError(f"{file}: types and structure must be objects")
    towers, poolings = {}, set()
    for kind, route in ROUTES.items():
        names = structure.get(route) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{file}: the route {route} must be a list of names, not {_short(names)}")
        parts = _by_type(folder, [(types.get(name, ""), str(Path(path, inside(file, name)))) for name in names])
        if "Transformer" not in parts:
            raise InputError(f"{file}: the route {route} has no Transformer; two towers are routes query and document")
        towers[kind] = parts["Transformer"]
        poolings.add((_pooling(folder, parts, requested), "Normalize" in parts))
    if len(poolings) > 1:
        raise InputError(f"{file}: its routes differ in pooling or normalisation; make them agree")
    return *poolings.pop(), towers


def _pooling(folder: Path, paths: Mapping[str, str], requested: str) -> str | None:
    if "Pooling" not in paths or requested != "auto":
        return None
    path = folder / paths["Pooling"] / "config.json"
    config = _json(path, {}, dict)
    modes = {key.removeprefix("pooling_mode_") for key, on in config.items() if key.startswith("pooling_mode_") and on}
    by_key = {key.removeprefix("pooling_mode_"): name for name, key in _POOLING_KEYS.items()}
    if "pooling_mode" in config:
        mode = config["pooling_mode"]
        listed = mode if isinstance(mode, list) else [mode]
        modes, by_key = {str(name) for name in listed}, _POOLING_NAMES
    if len(modes) != 1 or not modes <= by_key.keys() or config.get("include_prompt") is False:
        raise InputError(f"{path}: a pooling that Sharpen does not know; set encoder.sentence_pooling_method")
    return by_key[modes.pop()]


def _json(path: Path, default: Any, kind: type) -> Any:
    """The JSON value in a file, which must be of a kind; `default` where there is no file."""
    if not path.is_file():
        return default
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({_short(error)})") from None
    if not isinstance(value, kind):
        name = {list: "a list", dict: "an object"}[kind]
        raise InputError(f"{path}: must hold {name}, not {_short(value)}")
    return value


def _short(value: Any) -> str:
    text = str(value) if isinstance(value, str | Exception) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def tower_folders(kinds: Sequence[str]) -> dict[str, str]:
    """Where in a new folder the transformer of each kind is written."""
    return {kind: f"{ROUTES[kind]}_0_Transformer" for kind in kinds} if len(kinds) > 1 else dict.fromkeys(kinds, "")


def write_architecture(folder: Path, facts: Architecture, *, dimension: int, max_lengths: Mapping[str, int]) -> None:
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
    prompts = dict(facts.named_prompts) | prompts
    _write(
        folder / "config_sentence_transformers.json",
        {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine" if facts.normalize else "dot"},
    )


def _write_router(folder: Path, facts: Architecture, dimension: int, max_lengths: Mapping[str, int]) -> None:
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


def _write_pooling(folder: Path, facts: Architecture, dimension: int) -> None:
    pooling = {key: name == facts.pooling for name, key in _POOLING_KEYS.items()}
    _write(folder / "config.json", {"word_embedding_dimension": dimension, **pooling})


def _write_length(folder: Path, longest: int) -> None:
    _write(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False})


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
