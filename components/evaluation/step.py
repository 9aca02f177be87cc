"""The evaluation step between its KFP face and the library: addresses and JSON in, what KFP shows out."""

from __future__ import annotations

from components.step_result import StepResult
from sharpen.evaluation import artifact
from sharpen.evaluation.settings import EvaluationSettings, SettingsOf
from sharpen.models.model_config import computing_part
from sharpen.reports.html_page import message_page
from sharpen.settings import EncoderSettings

NOTHING = message_page("No evaluation", "There is no model to evaluate yet.")


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
        return StepResult("", NOTHING.encode())
    from sharpen.evaluation.evaluate import evaluate
    from sharpen.evaluation.summary import figures

    if settings_of == "model":
        encoding = computing_part(encoding)
    references = {"base": base, "champion": champion}
    manifest = evaluate(
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
    return StepResult.of(address, manifest, artifact.REPORT, figures(address))
