"""What a version was made of: data, parents, code, settings and figures, from the files in its folder that say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sharpen import typed_json
from sharpen.registry import registry
from sharpen.registry.versions import PROVENANCE, Version
from sharpen.store import storage

TRAINING, MERGING = "training.json", "merging.json"


@dataclass(frozen=True)
class Lineage:
    """A version and what it was made of; what is not recorded is empty.

    Attributes:
        version: number, address, content, run, time and metrics.
        parents: what -> address: ``model`` that training started from, ``data``, ``negatives``, ``evaluation``, of a
            merged model those that it was merged from, as ``merged 0.4 x base``, and the models that it was compared
            with, as ``compared with base``.
        data_fingerprint: of the training data.
        code_version: of Sharpen.
        counts: queries, passages and pairs that it was trained with.
        settings: group -> name -> value: ``training``, ``encoder``, ``merging`` and ``promotion``.
        verdict, reasons: the gate's.
    """

    version: Version
    parents: dict[str, str]
    data_fingerprint: str
    code_version: str
    counts: dict[str, Any]
    settings: dict[str, dict[str, Any]]
    verdict: str
    reasons: list[str]


def read_lineage(root: str, name: str, version: str) -> Lineage:
    """The lineage of a version.

    Args:
        root, name: of the registry and of the model.
        version: its number, ``champion`` or an alias.

    Raises:
        InputError: there is none, or its files are damaged.
    """
    entry = registry.show(root, name, version)
    made = _object(entry.address, PROVENANCE)
    names = {file["name"] for file in storage.read_manifest(entry.address).files}
    training, merging = (_object(entry.address, file) if file in names else {} for file in (TRAINING, MERGING))
    compared = made.get("comparison", {})
    parents = {
        "model": training.get("base_model"),
        "data": training.get("data"),
        "negatives": training.get("negatives"),
        "evaluation": made.get("evaluation"),
        **_merged(merging.get("models", [])),
        **{f"compared with {other}": reference.get("model") for other, reference in compared.items()},
    }
    gate = made.get("gate", {})
    groups = {
        "training": training.get("settings"),
        "encoder": training.get("encoder"),
        "merging": {name: merging[name] for name in ("method", "weight", "reason") if name in merging},
        "promotion": made.get("settings"),
    }
    return Lineage(
        entry,
        {what: str(address) for what, address in parents.items() if address},
        str(made.get("data_fingerprint") or training.get("data_fingerprint") or ""),
        str(made.get("code_version") or training.get("code_version") or ""),
        dict(training.get("counts") or {}),
        {group: dict(values) for group, values in groups.items() if values},
        str(gate.get("verdict", "")),
        [str(reason) for reason in gate.get("reasons", [])],
    )


def _merged(models: list[dict[str, Any]]) -> dict[str, Any]:
    """``merged 0.4 x base`` -> address; of several with one role each has its number."""
    roles = [str(model["role"]) for model in models]
    found = {}
    for number, (role, model) in enumerate(zip(roles, models, strict=True)):
        which = f"{role} {1 + roles[:number].count(role)}" if roles.count(role) > 1 else role
        found[f"merged {model['coefficient']:.4g} x {which}"] = model["address"]
    return found


def _object(folder: str, file: str) -> dict[str, Any]:
    address = storage.join(folder, file)
    return typed_json.parse(dict[str, Any], storage.read_bytes(address), address)
