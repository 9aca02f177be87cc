"""The evaluation step between its KFP face and its logic: addresses and JSON in, small metadata out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharpen.evaluation import artifact
from sharpen.evaluation.settings import EvaluationSettings, SettingsOf
from sharpen.models.model_config import computing_part
from sharpen.reports.html_page import message_page
from sharpen.settings import EncoderSettings
from sharpen.store import storage

NOTHING = message_page("No evaluation", "There is no model to evaluate yet.")


@dataclass(frozen=True)
class StepResult:
    """What the step shows: the address ("" when there was no model), facts, figures and the report."""

    address: str
    facts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    page: bytes = NOTHING.encode()

    def write_page(self, path: str) -> None:
        """Write the report where KFP looks for it."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(self.page)


def run_step(
    address: str,
    name: str,
    model: str,
    data: str,
    split: str,
    settings: str,
    encoder: str,
    base: str,
    champion: str,
    negatives: str,
    settings_of: SettingsOf = "model",
    without: str = "",
) -> StepResult:
    """Evaluate into `address` as the pipeline asks; the rest is the component's. Raises what `evaluate` raises.

    The pipeline's encoder settings say how this run trains. A model that was trained before says itself how it embeds,
    so only how embeddings are computed is taken of them, except for a base model (`settings_of` ``better``).
    """
    checked = EvaluationSettings.from_json(settings, where="evaluation.")
    encoding = EncoderSettings.from_json(encoder, where="encoder.")
    if not model:
        print(f"{name}: there is no model to evaluate yet", flush=True)
        return StepResult("")
    from sharpen.evaluation.evaluate import evaluate

    if settings_of == "model":
        encoding = computing_part(encoding)
    references = {"base": base, "champion": champion}
    marker = evaluate(
        model,
        data,
        split,
        address,
        checked,
        encoding,
        references=references,
        context={"negatives": negatives},
        settings_of=settings_of,
        without=without,
    )
    return StepResult(
        address,
        facts={"rows": marker.rows, **marker.facts},
        metrics=figures(address),
        page=storage.read_bytes(storage.join(address, artifact.REPORT)),
    )


def figures(address: str) -> dict[str, float]:
    """Flat figures for the UI: every metric, on dev as ``dev_<metric>``, and ``<metric>_minus_<reference>``."""
    found: dict[str, float] = dict(storage.read_json(storage.join(address, artifact.METRICS)))
    dev = storage.read_json(storage.join(address, artifact.DEV))["metrics"]
    found |= {f"dev_{metric}": value for metric, value in dev.items()}
    comparison = storage.join(address, artifact.COMPARISON)
    if storage.exists(comparison):
        for name, other in storage.read_json(comparison)["against"].items():
            found |= {f"{metric}_minus_{name}": result["difference"] for metric, result in other["metrics"].items()}
    return found
