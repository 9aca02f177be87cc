"""The indexing step between its KFP face and the library: addresses and JSON in, what KFP shows out."""

from __future__ import annotations

from components.step_result import StepResult
from sharpen.index.settings import StepSettings
from sharpen.models.model_config import computing_part
from sharpen.registry.versions import index_address
from sharpen.reports.html_page import message_page
from sharpen.settings import EncoderSettings

NOTHING = message_page("Search index", "Nothing was indexed: no model was promoted, or indexing.enabled is off.")


def run_step(model: str, data: str, settings: str, encoder: str) -> StepResult:
    """Index as the pipeline asks; parameters are those of the component. Raises what `index` raises."""
    checked = StepSettings.from_json(settings, where="indexing.")
    # of the run's settings only how embeddings are computed: what they are, the model says
    encoding = computing_part(EncoderSettings.from_json(encoder, where="encoder."))
    if not model or not checked.enabled:
        print("indexing: no model was promoted, or indexing.enabled is off: nothing to index", flush=True)
        return StepResult("", NOTHING)
    from sharpen.index.build import PAGE, index

    address = index_address(model)
    return StepResult.of(address, index(data, model, address, checked, encoding), PAGE)
