"""The indexing step between its KFP face and its logic: addresses and JSON in, small metadata out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharpen.errors import InputError
from sharpen.index.settings import StepSettings
from sharpen.models.model_config import computing_part
from sharpen.settings import EncoderSettings
from sharpen.store import storage

NOTHING = "No model was promoted, so there is nothing to index.\n"


@dataclass(frozen=True)
class StepResult:
    """What the step shows: the address ("" when there was no model), facts, figures and the page."""

    address: str
    facts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    page: bytes = NOTHING.encode()

    def write_page(self, path: str) -> None:
        """Write the page where KFP looks for it."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(self.page)

    def write_facts(self, path: str) -> None:
        """Write the facts, the address among them, as the artifact's file.

        The folder is outside of the pipeline's root, where KFP's launcher takes no artifact; and kfp.local takes an
        artifact without a file for lost, and the step for not cached.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(self.facts, indent=2) + "\n", encoding="utf-8")


def index_address(version: str) -> str:
    """Where the index of a registered version is: ``models/<name>/indexes/<version>`` beside ``versions/<version>``.

    Raises:
        InputError: the address is not that of a version in a registry.
    """
    location, mark, query = version.partition("?")
    folder, _, number = location.rstrip("/").rpartition("/")
    if not folder.endswith("/versions"):
        raise InputError(f"{version}: not a version in a registry (<root>/models/<name>/versions/<version>)")
    return f"{folder.removesuffix('/versions')}/indexes/{number}{mark}{query}"


def run_step(model: str, data: str, settings: str, encoder: str) -> StepResult:
    """Index as the pipeline asks; parameters are those of the component. Raises what `index` raises."""
    checked = StepSettings.from_json(settings, where="indexing.")
    # of the run's settings only how embeddings are computed: what they are, the model says
    encoding = computing_part(EncoderSettings.from_json(encoder, where="encoder."))
    if not model:
        print("indexing: no model was promoted, so there is nothing to index", flush=True)
        return StepResult("")
    from components.indexing.show import show_index
    from sharpen.index.build import PAGE, index
    from sharpen.index.manifest import NAME

    address = index_address(model)
    marker = index(data, model, address, checked, encoding)
    show_index(address)
    made = storage.read_json(storage.join(address, NAME))
    facts = {"rows": marker.rows, "address": address, **marker.facts}
    return StepResult(address, facts, figures(made), storage.read_bytes(storage.join(address, PAGE)))


def figures(made: dict[str, Any]) -> dict[str, float]:
    """Flat figures for the UI."""
    found = {"passages": float(made["passages"]), "dimension": float(made["embeddings"]["dimension"])}
    if quality := made["quality"]:
        k = quality["k"]
        found[f"recall_at_{k}_searched"] = quality["searched"]
        found |= {f"recall_at_{k}_{name}": share for name, share in quality["exhaustive"].items()}
    return found
