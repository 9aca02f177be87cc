"""The query_generation step between its KFP face and the library: addresses and JSON in, what KFP shows out."""

from __future__ import annotations

from dataclasses import dataclass

from components.step_result import StepResult
from sharpen.data.source_settings import SourceSettings, parse_sources, sources_text
from sharpen.generation.settings import StepSettings
from sharpen.reports.html_page import message_page
from sharpen.settings import EncoderSettings

NOTHING = message_page("Generated queries", "The run is skipped, or generation.enabled is off, so none were written.")


@dataclass(frozen=True)
class Generation:
    """What the step did.

    Attributes:
        written: what KFP shows; an empty address where nothing was written.
        train_data: the training data, the queries among them.
    """

    written: StepResult
    train_data: str


def run_step(address: str, train_data: str, eval_data: str, base_model: str, settings: str, encoder: str) -> Generation:
    """Write queries into `address`; the other parameters are the component's. Raises what `generate_queries` raises."""
    checked = StepSettings.from_json(settings, where="generation.")
    encoding = EncoderSettings.from_json(encoder, where="encoder.")
    if not checked.enabled:
        print("query generation: nothing to do", flush=True)
        return Generation(StepResult("", NOTHING), train_data)
    checked.check_documents()
    from sharpen.generation.generate import PAGE, SOURCE, generate_queries

    marker = generate_queries(
        *(checked.documents, address, checked, encoding),
        base_model=base_model,
        # without evaluation data some of the training queries become the test, and nothing may have seen those
        examples=checked.examples or (train_data if eval_data else ""),
    )
    sources = [*parse_sources(train_data, "train_data"), SourceSettings.checked({"address": address, "name": SOURCE})]
    return Generation(StepResult.of(address, marker, PAGE), sources_text(sources))
