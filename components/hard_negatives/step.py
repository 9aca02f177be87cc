"""The mining step between its KFP face and its logic: addresses and JSON in, small metadata out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpen.mining.settings import MiningSettings
from sharpen.settings import EncoderSettings
from sharpen.store import storage


@dataclass(frozen=True)
class StepResult:
    """What the step shows: the address, facts, figures and the report's page."""

    address: str
    facts: dict[str, Any]
    metrics: dict[str, float]
    page: bytes

    def write_page(self, path: str) -> None:
        """Write the report where KFP looks for it."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(self.page)


def run_step(address: str, data: str, model: str, settings: str, encoder: str) -> StepResult:
    """Mine into `address` as the pipeline asks; the rest is the component's. Raises what `mine` raises."""
    checked = MiningSettings.from_json(settings, where="mining.")
    encoding = EncoderSettings.from_json(encoder, where="encoder.")
    from components.hard_negatives.show import show
    from sharpen.mining.mine import mine
    from sharpen.mining.output import PAGE, REPORT

    marker = mine(data, model, address, checked, encoding)
    show(address)
    report = storage.read_json(storage.join(address, REPORT))
    page = storage.read_bytes(storage.join(address, PAGE))
    return StepResult(address, {"rows": marker.rows, **marker.facts}, figures(report), page)


def figures(report: Mapping[str, Any]) -> dict[str, float]:
    """Flat figures for the UI."""
    found = {name: float(report[name]) for name in ("queries", "passages", "positives", "negatives", "candidates")}
    found |= {f"dropped_{rule}": float(count) for rule, count in report["dropped_by_rule"].items() if count}
    found |= {f"picked_by_{name}": float(count) for name, count in report["picked_by"].items() if count}
    found["queries_left_short"] = float(report["short"]["queries"])
    for k, share in report["share_of_queries_with_a_positive_in_top"].items():
        found[f"positive_in_top_{k}"] = share
    if hidden := report["hidden_positives"]:
        found |= {f"hidden_positives_{name}": hidden[name] for name in hidden if name.startswith("rate_")}
    if rescoring := report["rescoring"]:
        rates = {name: rate for name, rate in rescoring.items() if name.startswith("rate_") and rate is not None}
        found |= {f"cross_encoder_{name}": rate for name, rate in rates.items()}
    if "recall" in (search := report["search"]["model"]):
        found["search_recall"] = search["recall"]
    return found
