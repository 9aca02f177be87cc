"""What the gate reads of a finished evaluation."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharpen.errors import InputError
from sharpen.registry.gate.terms import read_terms
from sharpen.registry.versions import PROVENANCE
from sharpen.store import storage

BASE, CHAMPION = "base", "champion"


@dataclass(frozen=True)
class Reference:
    """A model that the candidate was compared with, on the same queries.

    Attributes:
        model: its address.
        metrics: metric -> ``{"reference", "candidate", "difference", "ci_low", "ci_high", "p_value", "queries",
            "groups", ...}``; the difference is candidate minus reference, the interval is that of its mean.
        facts: of its own evaluation, among them ``data_fingerprint``, ``model_hash`` and ``encoding``, how it was used.
        terms: of a champion, `terms.terms_of` the decision that promoted it.
        size: in which its vectors were compared, as variants are named; empty: as they are.
    """

    model: str
    metrics: dict[str, dict[str, float]]
    facts: dict[str, Any] = field(default_factory=dict)
    terms: dict[str, Any] = field(default_factory=dict)
    size: str = ""


@dataclass(frozen=True)
class EvaluationSummary:
    """A candidate's evaluation.

    Attributes:
        address: of the evaluation.
        metrics: metric -> mean over the queries.
        facts: of the evaluation, among them ``model``, ``data_fingerprint`` and ``model_hash``.
        against: ``base`` or ``champion`` -> comparison.
        confidence_level: of the intervals.
        dev: dev.json, the figures by which runs are compared; empty where dev was not measured.
        slices, guard, variants: the contents of slices.json, guard.json and variants.json; None where there is no such
            file.
    """

    address: str
    metrics: dict[str, float]
    facts: dict[str, Any]
    against: dict[str, Reference]
    confidence_level: float = 0.95
    dev: dict[str, Any] = field(default_factory=dict)
    slices: list[dict[str, Any]] | None = None
    guard: dict[str, Any] | None = None
    variants: list[dict[str, Any]] | None = None


def read_evaluation_summary(address: str) -> EvaluationSummary:
    """Read a finished evaluation, its files checked.

    Raises:
        InputError: the folder is not a finished evaluation, or an evaluation that it refers to is gone.
    """
    folder = storage.open_artifact(address)
    facts = storage.read_manifest(address).facts
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
        comparison = _read(folder / "comparison.json") or {"against": {}}
        slices, variants = _read(folder / "slices.json"), _read(folder / "variants.json")
        against = {
            name: Reference(
                other.get("model", ""),
                other["metrics"],
                storage.read_manifest(other["reference"]).facts,
                _terms(other.get("model", "")) if name == CHAMPION else {},
            )
            for name, other in comparison["against"].items()
        }
        return EvaluationSummary(
            address,
            metrics,
            facts,
            against,
            comparison.get("confidence_level", 0.95),
            dev=_read(folder / "dev.json") or {},
            slices=slices["slices"] if slices else None,
            guard=_read(folder / "guard.json"),
            variants=variants["variants"] if variants else None,
        )
    except (FileNotFoundError, KeyError, ValueError, AttributeError) as error:
        raise InputError(f"{address}: not an evaluation ({error}); name the output of components.evaluation") from None


def _read(file: Path) -> dict[str, Any] | None:
    return json.loads(file.read_text()) if file.is_file() else None


def _terms(champion: str) -> dict[str, Any]:
    """On what terms a registered version was promoted; empty where its provenance does not say it."""
    with contextlib.suppress(storage.NotFound):
        return read_terms(storage.read_json(storage.join(champion, PROVENANCE)))
    return {}
