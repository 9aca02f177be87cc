"""The merging step between its KFP face and the library: addresses and JSON in, what KFP shows out."""

from __future__ import annotations

from components.step_result import StepResult
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.merging.settings import StepSettings
from sharpen.models.model_config import computing_part
from sharpen.settings import EncoderSettings


def run_step(
    model: str, base_model: str, data: str, address: str, *, settings: str, evaluation: str, encoder: str, logs: str
) -> StepResult:
    """Merge the run's tuned model, and those of the settings, with the base model; or pass it on as it is, saying why.

    Args:
        model, base_model, data: addresses of the tuned model, the base model and the data set.
        address: of the merged model.
        settings, evaluation, encoder: of merging, evaluation and encoder, as JSON.
        logs: where the training's pods left their output; empty where that is not known.

    Raises:
        InputError: as `merge`, or wrong settings.
        StepFailed: as `merge`.
    """
    step = StepSettings.from_json(settings, where="merging.")
    measured = EvaluationSettings.from_json(evaluation, where="evaluation.")
    encoding = computing_part(EncoderSettings.from_json(encoder, where="encoder."))

    from sharpen.merging.merge import merge
    from sharpen.merging.report import render_page

    facts = merge(
        *([model, *step.models], address, step.merging()),
        base=base_model,
        data=data,
        evaluation=measured,
        encoder=encoding,
        requested=step.requested,
    )
    shown = {name: facts[name] for name in ("merged", "method", "weight", "reason", "data")}
    merged = {"tuned_model": model, "base_model": base_model, "logs": logs or None}
    return StepResult(address, render_page(facts), {**shown, **merged})
