"""Reading what a model's folder says of pooling, Dense modules, normalisation, prompts and towers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sharpen.errors import InputError
from sharpen.models.architecture.dense import DenseConfig, read_dense
from sharpen.models.architecture.facts import POOLING_KEYS, ROUTER, ROUTES, Architecture
from sharpen.models.architecture.json_files import read_json, short

_POOLING_NAMES = {"cls": "cls", "mean": "mean", "lasttoken": "last_token", "last_token": "last_token"}
# In the order in which they follow each other; there may be several Dense modules.
_KNOWN = ("Router", "Transformer", "Pooling", "Dense", "Normalize")
# The file of a Transformer module with its longest text, by the names that it has had.
_LENGTH_FILES = ("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_distilbert_config.json")
_LENGTH_FILES += ("sentence_camembert_config.json", "sentence_albert_config.json", "sentence_xlm-roberta_config.json")
_LENGTH_FILES += ("sentence_xlnet_config.json",)
# Names of prompts that sentence-transformers' encode_query and encode_document take.
_PROMPT_NAMES = {"query": ("query",), "passage": ("passage", "document", "corpus")}


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
        if "Dense" in paths:
            raise InputError(f"{folder}: has a Dense module after its Router, for both routes; put one into each route")
        pooling, normalize, towers, dense = _routes(folder, paths["Router"][0], requested)
    else:
        pooling, normalize = _pooling(folder, paths, requested), False
        towers = {"passage": paths.get("Transformer", [""])[0]}
        dense = {"passage": read_dense(folder, paths.get("Dense", []))}
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
        {kind: modules for kind, modules in dense.items() if modules},
    )


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Type and path of each module."""
    path = folder / "modules.json"
    found = read_json(path, [], list)
    for entry in found:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key, ""), str) for key in ("type", "path")):
            raise InputError(f"{path}: each module must be an object with a type and a path, not {short(entry)}")
    return [(entry.get("type", ""), inside(path, entry.get("path", ""))) for entry in found]


def inside(file: Path, path: str) -> str:
    """`path` as it stands in a file of a model folder; raises InputError where it would leave the folder."""
    parts = Path(path).parts
    if Path(path).is_absolute() or ".." in parts or "\\" in path or "\0" in path:
        raise InputError(f"{file}: the path {short(path)} leaves the model's folder; paths must stay inside of it")
    return path


def _prompts(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The prompts of queries and passages, and all others by name."""
    stored = read_json(path, {}, dict).get("prompts") or {}
    if not isinstance(stored, dict) or not all(isinstance(prompt, str | None) for prompt in stored.values()):
        raise InputError(f"{path}: prompts must be an object of texts, not {short(stored)}")
    prompts = {kind: next((stored[n] for n in names if stored.get(n)), "") for kind, names in _PROMPT_NAMES.items()}
    reserved = {name for names in _PROMPT_NAMES.values() for name in names}
    return prompts, {name: prompt or "" for name, prompt in stored.items() if name not in reserved}


def _length(tower: Path) -> int | None:
    for name in _LENGTH_FILES:
        longest = read_json(tower / name, {}, dict).get("max_seq_length")
        if longest is not None:
            if not isinstance(longest, int) or isinstance(longest, bool) or longest < 1:
                raise InputError(f"{tower / name}: max_seq_length must be a whole number above 0, not {short(longest)}")
            return longest
    return None


def _by_type(folder: Path, modules: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Name of a module's type -> paths of the modules of that type."""
    names = [kind.rsplit(".", 1)[-1] for kind, _ in modules]
    if unknown := [name for name in names if name not in _KNOWN]:
        raise InputError(
            f"{folder}: has the module {short(', '.join(unknown))}, and without it embeddings would be others; "
            f"models are made of {', '.join(_KNOWN)}"
        )
    twice = any(names.count(name) > 1 for name in _KNOWN if name != "Dense")
    if twice or names != sorted(names, key=_KNOWN.index):
        raise InputError(
            f"{folder}: has the modules {short(', '.join(names))}; they must follow each other as {', '.join(_KNOWN)}, "
            "each once but for Dense"
        )
    found: dict[str, list[str]] = {}
    for name, (_, path) in zip(names, modules, strict=True):
        found.setdefault(name, []).append(path)
    return found


def _routes(
    folder: Path, path: str, requested: str
) -> tuple[str | None, bool, dict[str, str], dict[str, tuple[DenseConfig, ...]]]:
    """Pooling, normalisation, towers and Dense modules of a `Router`."""
    file = folder / path / ROUTER
    router = read_json(file, {}, dict)
    structure, types = router.get("structure") or {}, router.get("types") or {}
    texts = isinstance(types, dict) and all(isinstance(kind, str) for kind in types.values())
    if not texts or not isinstance(structure, dict):
        raise InputError(f"{file}: types and structure must be objects")
    towers, dense, poolings = {}, {}, set()
    for kind, route in ROUTES.items():
        names = structure.get(route) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{file}: the route {route} must be a list of names, not {short(names)}")
        parts = _by_type(folder, [(types.get(name, ""), str(Path(path, inside(file, name)))) for name in names])
        if "Transformer" not in parts:
            raise InputError(f"{file}: the route {route} has no Transformer; two towers are routes query and document")
        towers[kind] = parts["Transformer"][0]
        dense[kind] = read_dense(folder, parts.get("Dense", []))
        poolings.add((_pooling(folder, parts, requested), "Normalize" in parts))
    if len(poolings) > 1:
        raise InputError(f"{file}: its routes differ in pooling or normalisation; make them agree")
    return *poolings.pop(), towers, dense


def _pooling(folder: Path, paths: Mapping[str, Sequence[str]], requested: str) -> str | None:
    if "Pooling" not in paths or requested != "auto":
        return None
    path = folder / paths["Pooling"][0] / "config.json"
    config = read_json(path, {}, dict)
    modes = {key.removeprefix("pooling_mode_") for key, on in config.items() if key.startswith("pooling_mode_") and on}
    by_key = {key.removeprefix("pooling_mode_"): name for name, key in POOLING_KEYS.items()}
    if "pooling_mode" in config:
        mode = config["pooling_mode"]
        listed = mode if isinstance(mode, list) else [mode]
        modes, by_key = {str(name) for name in listed}, _POOLING_NAMES
    if len(modes) != 1 or not modes <= by_key.keys() or config.get("include_prompt") is False:
        raise InputError(f"{path}: a pooling that Sharpen does not know; set encoder.sentence_pooling_method")
    return by_key[modes.pop()]
