"""The teachers step between its KFP face and the library: addresses and JSON in, what KFP shows out."""

from __future__ import annotations

from components.step_result import StepResult
from sharpen.settings import EncoderSettings
from sharpen.teachers.settings import StepSettings


def run_step(address: str, data: str, negatives: str, settings: str, encoder: str) -> StepResult:
    """Score into `address` as the pipeline asks; the rest is the component's. Raises what `score_by_teachers` does."""
    checked = StepSettings.from_json(settings, where="teachers.")
    encoding = EncoderSettings.from_json(encoder, where="encoder.")
    checked.check_teachers("teachers.")
    from sharpen.teachers.score import PAGE, score_by_teachers

    return StepResult.of(address, score_by_teachers(data, negatives, address, checked, encoding), PAGE)
