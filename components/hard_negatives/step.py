"""The mining step between its KFP face and the library: addresses and JSON in, what KFP shows out."""

from __future__ import annotations

from components.step_result import StepResult
from sharpen.mining.settings import MiningSettings
from sharpen.settings import EncoderSettings
from sharpen.store import storage


def run_step(address: str, data: str, model: str, settings: str, encoder: str) -> StepResult:
    """Mine into `address` as the pipeline asks; the rest is the component's. Raises what `mine` raises."""
    checked = MiningSettings.from_json(settings, where="mining.")
    encoding = EncoderSettings.from_json(encoder, where="encoder.")
    from sharpen.mining.mine import mine
    from sharpen.mining.output import PAGE, REPORT
    from sharpen.mining.report.summary import figures

    manifest = mine(data, model, address, checked, encoding)
    report = storage.read_json(storage.join(address, REPORT))
    return StepResult.of(address, manifest, PAGE, figures(report))
