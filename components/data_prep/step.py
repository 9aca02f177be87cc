"""The data_prep step between its KFP face and the library: addresses and JSON in, what KFP shows out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.step_result import StepResult
from sharpen.data.preparation.settings import DataSettings
from sharpen.reports.html_page import message_page

if TYPE_CHECKING:
    from sharpen.retraining.change_detection import KnownExamples

NOTHING = message_page("Prepared data", "The run is skipped, so nothing was prepared.")


@dataclass(frozen=True)
class PreparedData:
    """A prepared data set, and whether the run goes on.

    Attributes:
        prepared: what KFP shows; an empty address where nothing was prepared.
        decision: ``train`` or ``skip``.
        examples: what of the data the run's record holds, as JSON.
        reason: why, where it was decided here.
    """

    prepared: StepResult
    decision: str
    examples: str = ""
    reason: str = ""

    @property
    def outputs(self) -> tuple[str, str, str, str]:
        """What the component returns."""
        return self.decision, self.prepared.address, self.examples, self.reason


def run_step(
    address: str, examples: str, train_data: str, eval_data: str, settings: str, known: str, plan: str = ""
) -> PreparedData:
    """Prepare into `address` and count into `examples`; parameters are those of the component.

    Raises:
        InputError: what `prepare` raises; where nothing is new the answer is ``skip``.
    """
    checked = DataSettings.from_json(settings, where="data.")
    from sharpen.retraining.change_detection import SKIP, KnownExamples, count_changes, record_skip

    if not train_data:
        return PreparedData(StepResult("", NOTHING), SKIP)
    from sharpen.data.preparation.data_plan import DataPlan, NothingNew
    from sharpen.data.preparation.page import read_page
    from sharpen.data.preparation.prepare import prepare
    from sharpen.data.source_settings import parse_sources
    from sharpen.models.model_hub import find_tokenizer

    sources = parse_sources(train_data, "train_data"), parse_sources(eval_data, "eval_data")
    tokenizer = find_tokenizer(checked.tokenizer) if checked.tokenizer else None
    before = KnownExamples.from_json(known) if known else None
    try:
        marker = prepare(*sources, address, checked, DataPlan.from_json(plan), tokenizer)
    except NothingNew as nothing:
        reason = f"skipped: {nothing}"
        if before:
            record_skip(before, reason)
            _show_skip(before, reason)
        return PreparedData(StepResult("", NOTHING), SKIP, reason=reason)
    counted = count_changes(address, known, target=examples)
    if before and counted.decision == SKIP:
        _show_skip(before, counted.reason)
    elif counted.reason:
        print(counted.reason)
    facts = {"sources": train_data, "fingerprint": marker.facts["fingerprint"], **marker.facts["metrics"]}
    shown = StepResult(address, read_page(address), {**facts, **counted.metrics})
    return PreparedData(shown, counted.decision, counted.seen, counted.reason)


def _show_skip(known: KnownExamples, reason: str) -> None:
    """Print the outcome, and keep it for the exit task, also of a model none of whose runs has finished."""
    from sharpen.registry.outcome import skipped_outcome
    from sharpen.run_context import run_id

    outcome = skipped_outcome(known.model_name, known.registry, reason)
    outcome.save(known.registry, run_id())
    print(outcome.block(known.registry))
