"""Writing the files that make folders of transformers a sentence-transformers folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sharpen.models.architecture.dense import DenseConfig
from sharpen.models.architecture.facts import POOLING_KEYS, ROUTER, ROUTES, Architecture
from sharpen.models.architecture.json_files import write_json


def module_folders(
    dense: Mapping[str, Sequence[DenseConfig]],
) -> tuple[dict[str, str], dict[str, tuple[DenseConfig, ...]]]:
    """Where in a new folder the modules of each kind are written.

    Args:
        dense: kind -> its Dense modules, an entry for each tower.

    Returns:
        `Architecture.towers` and `Architecture.dense`.
    """
    routes = {kind: f"{ROUTES[kind]}_" if len(dense) > 1 else "" for kind in dense}
    towers = {kind: f"{route}0_Transformer" if route else "" for kind, route in routes.items()}
    moved = {}
    for kind, modules in dense.items():
        paths = [f"{routes[kind]}{number}_Dense" for number in range(2, 2 + len(modules))]
        moved[kind] = tuple(replace(one, path=path) for one, path in zip(modules, paths, strict=True))
    return towers, moved


def write_architecture(folder: Path, facts: Architecture, *, token_size: int, max_lengths: Mapping[str, int]) -> None:
    """Write the files that make folders of transformers, at `facts.towers`, a sentence-transformers folder.

    Args:
        folder: the whole folder.
        facts: what it shall say.
        token_size: length of a token vector.
        max_lengths: most tokens of each kind; a folder of one tower can only say one number, the larger.
    """
    if len(facts.towers) > 1:
        _write_router(folder, facts, token_size, max_lengths)
        parts = [("", "Router")]
    else:
        _write_length(folder, max(max_lengths.values()))
        parts = _write_modules(folder, facts, "passage", "", token_size)
    if facts.normalize:
        parts.append((f"{len(parts)}_Normalize", "Normalize"))
        write_json(folder / parts[-1][0] / "config.json", {})
    write_json(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": _qualified(kind)}
            for index, (path, kind) in enumerate(parts)
        ],
    )
    prompts = {"query": facts.prompts.get("query", ""), "document": facts.prompts.get("passage", "")}
    prompts = dict(facts.named_prompts) | prompts
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine" if facts.normalize else "dot"},
    )


def _write_router(folder: Path, facts: Architecture, token_size: int, max_lengths: Mapping[str, int]) -> None:
    types, structure = {}, {}
    for kind, tower in facts.towers.items():
        route = ROUTES[kind]
        _write_length(folder / tower, max_lengths[kind])
        parts = _write_modules(folder, facts, kind, f"{route}_", token_size)
        types |= {path: _qualified(name) for path, name in parts}
        structure[route] = [path for path, _ in parts]
    parameters = {"default_route": ROUTES["passage"], "allow_empty_key": True}
    write_json(folder / ROUTER, {"types": types, "structure": structure, "parameters": parameters})


def _write_modules(folder: Path, facts: Architecture, kind: str, prefix: str, token_size: int) -> list[tuple[str, str]]:
    """Write what follows the transformer of a kind of text; path and type of all modules, the transformer first."""
    dense, pooling = facts.dense.get(kind, ()), f"{prefix}1_Pooling"
    modes = {key: name == facts.pooling for name, key in POOLING_KEYS.items()}
    write_json(folder / pooling / "config.json", {"word_embedding_dimension": token_size, **modes})
    for module in dense:
        module.write(folder)
    return [(facts.towers[kind], "Transformer"), (pooling, "Pooling"), *((module.path, "Dense") for module in dense)]


def _qualified(kind: str) -> str:
    return f"sentence_transformers.models.{kind}"


def _write_length(folder: Path, longest: int) -> None:
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False})
