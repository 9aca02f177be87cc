"""`sharpen search` and `sharpen index`: find the champion's index in the registry, and start the indexing step on it.

The step runs in a process of its own, because this one must not import torch. Its lines and exit code are passed on.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import parameters
from sharpen.errors import InputError
from sharpen.index.settings import IndexSettings
from sharpen.processes.parent_death import dies_with_parent
from sharpen.registry import registry
from sharpen.registry.registry import Champion
from sharpen.registry.versions import index_address
from sharpen.settings import SettingsModel
from sharpen.store import storage


def ask(root: str, name: str, text: str | None, top: int, *, as_json: bool, prompt: str = "") -> int:
    """Ask the index of a champion, and return the exit code.

    Args:
        root: of the registry.
        name: of the model; empty: the one that was promoted last.
        text: what to look for; None: one query a line from standard input.
        top: passages to show.
        as_json: JSON instead of a table.
        prompt: name of the model's prompt that is put before the query; empty: its default.

    Raises:
        InputError: there is nothing to search yet; the line names the command that changes this.
    """
    name, champion = _champion(root, name)
    index = index_address(champion.address)
    if not storage.is_complete(index):
        raise InputError(f"{name}: its champion {champion.version} has no index yet; make one: sharpen index {name}")
    if not as_json:
        print(f"{name} {champion.version}", file=sys.stderr)
    return ask_index(index, champion.address, text, top, as_json=as_json, prompt=prompt)


def ask_index(index: str, model: str, text: str | None, top: int, *, as_json: bool, prompt: str = "") -> int:
    """Ask an index at an address; arguments and result as for `ask`. `model` is empty where the index knows it."""
    values = {"index": index, "model": model, "text": text or "", "top": top, "json_output": as_json, "prompt": prompt}
    return _indexing(["search", *_options(values)])


def make_index(root: str, name: str, data: str, config: Path | None, assignments: Sequence[str]) -> int:
    """Index a corpus with a champion, and return the exit code.

    Args:
        root: of the registry.
        name: of the model.
        data: address of the passages; empty: those of the champion's evaluation.
        config, assignments: settings of the groups ``encoder`` and ``indexing``; what is not set of the encoder, the
            champion's own folder says.

    Raises:
        InputError: there is no champion, no data are named or known, or a setting is wrong.
    """
    name, champion = _champion(root, name)
    settings = parameters.load(config, assignments)
    indexing = settings.indexing.model_dump(include=set(IndexSettings.model_fields), exclude_unset=True)
    addresses = {
        "data": data or _evaluated_data(root, name),
        "model": champion.address,
        "output": index_address(champion.address),
    }
    return _indexing([*_options(addresses), *_options(indexing), *_options(_set(settings.encoder))])


def _champion(root: str, name: str) -> tuple[str, Champion]:
    if name:
        champion = registry.read_champion(root, name)
        if champion is None:
            registry.show(root, name)  # says why there is none
        assert champion is not None
        return name, champion
    found = [(model, registry.read_champion(root, model)) for model in registry.list_models(root)]
    promoted = [(model, champion) for model, champion in found if champion]
    if not promoted:
        raise InputError(
            "nothing to search yet: no model was promoted in this store; `sharpen run` makes one and indexes its "
            "corpus, or name an index with --index"
        )
    return max(promoted, key=lambda pair: pair[1].promoted_at)


def _evaluated_data(root: str, name: str) -> str:
    with contextlib.suppress(storage.NotFound):
        evaluation = registry.provenance(root, name).get("evaluation")
        facts = storage.read_json(storage.join(evaluation, "facts.json")) if isinstance(evaluation, str) else None
        if isinstance(facts, dict) and isinstance(facts.get("data"), str):
            return facts["data"]
    raise InputError(f"{name}: the data that it was measured on are gone; name the passages with --data")


def _set(settings: SettingsModel) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude_unset=True)


def _options(values: Mapping[str, Any]) -> list[str]:
    return [f"--{name}={_written(value)}" for name, value in values.items()]


def _written(value: Any) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _indexing(arguments: Sequence[str]) -> int:
    return subprocess.run(
        # -P: the working folder may hold a folder `components` that is not ours
        dies_with_parent([sys.executable, "-P", "-m", "components.indexing", *arguments]),
        check=False,
    ).returncode
