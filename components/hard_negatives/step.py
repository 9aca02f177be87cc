"""The mining step between its KFP face and the library: addresses and JSON in, what KFP shows out."""

from __future__ import annotations

from components.step_result import StepResult
from sharpen.mining.settings import StepSettings
from sharpen.reports.html_page import message_page
from sharpen.settings import EncoderSettings

NOTHING = message_page("Hard negatives", "Mining is switched off for this run: mining.enabled is false.")


def run_step(address: str, data: str, model: str, settings: str, encoder: str) -> StepResult:
    """Mine into `address` as the pipeline asks; the rest is the component's. Raises what `mine` raises."""
    checked = StepSettings.from_json(settings, where="mining.")
    encoding = EncoderSettings.from_json(encoder, where="encoder.")
    if not checked.enabled:
        print("hard negatives: mining.enabled is off, so there are none", flush=True)
        return StepResult("", NOTHING)
    from sharpen.mining.mine import mine
    from sharpen.mining.output import PAGE

    return StepResult.of(address, mine(data, model, address, checked, encoding), PAGE)
