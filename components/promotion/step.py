"""The promotion step between its KFP face and the library: addresses and JSON in, what the run does next out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from components.kfp_context import log_metrics, write_card, write_page
from sharpen.diagnosis.explain import explain_evaluation
from sharpen.diagnosis.report import with_causes
from sharpen.index.settings import StepSettings
from sharpen.registry.decisions import decision_record
from sharpen.registry.gate import PROMOTE, Decision
from sharpen.registry.gate.evaluation_summary import EvaluationSummary, read_evaluation_summary
from sharpen.registry.last_run import record_run
from sharpen.registry.outcome import Outcome, measured_outcome
from sharpen.registry.promote import Promotion, promote
from sharpen.registry.report import headline_metrics, promotion_page
from sharpen.registry.report.decided import write_decided_report
from sharpen.registry.run_record import OVERTAKEN, WAITING, TrainingInputs
from sharpen.registry.settings import PromotionSettings
from sharpen.run_context import run_id
from sharpen.terminal import one_line, printable

logger = logging.getLogger("sharpen.promotion")

# what the pipeline does next; its conditions are named so too
INDEX, PROMOTED, COMPARE_AGAIN, NOT_PROMOTED = "index", "promoted", "compare again", "not promoted"
WAITS = "waits for approval"


@dataclass(frozen=True)
class PromotionResult:
    """A promotion, and what follows.

    Attributes:
        promotion: how it ended.
        follows: ``index``: it is the champion, and its index is wanted; ``promoted``; ``compare again``, with the
            champion of now; ``waits for approval``; ``not promoted``.
        reason: why, in one line, for the record of the run.
        outcome: what the run came to; where another comparison follows, so far.
        measured: the model's evaluation.
        store: root of the registry.
    """

    promotion: Promotion
    follows: str
    reason: str
    outcome: Outcome
    measured: EvaluationSummary
    store: str

    def publish(self, model: Any, page: Any, metrics: Any, decision: Any) -> tuple[str, str, str, str, str]:
        """Fill KFP's artifacts for the version, the page, the figures and gate.json; what the component returns."""
        ended, figures = self.promotion, headline_metrics(self.outcome, self.measured)
        write_card(model, ended.version, self._facts(figures))
        write_page(page, promotion_page(self.outcome, self.store, ended.decision, self.measured))
        page.metadata.update(
            verdict=ended.verdict, version=ended.version, reasons=self.outcome.reasons, evaluation=self.measured.address
        )
        log_metrics(metrics, figures)
        Path(decision.path).write_text(decision_record(ended.decision, self.measured.address), encoding="utf-8")
        again = self.follows == COMPARE_AGAIN
        print(printable(f"{self.follows}: {self.reason}") if again else self.outcome.block(self.store))
        return self.outputs

    @property
    def outputs(self) -> tuple[str, str, str, str, str]:
        """What the component returns."""
        ended = self.promotion
        return self.follows, ended.verdict, ended.version, ended.champion, self.reason

    def _facts(self, figures: dict[str, float]) -> dict[str, Any]:
        """Metadata of the promoted model, by which lists of artifacts name it."""
        name, version = self.outcome.model_name, self.outcome.version_number
        return {
            "display_name": f"{name} {version or 'not promoted'}",
            "model_name": name,
            "version": version,
            "verdict": self.promotion.verdict,
            "trained_model": self.measured.facts.get("model"),
            "data_fingerprint": self.measured.facts.get("data_fingerprint"),
            "evaluation": self.measured.address,
            "report": self.outcome.report,
            **figures,
        }


def run_step(
    model: str,
    evaluation: str,
    name: str,
    root: str,
    settings: str,
    indexing: str,
    run_settings: str,
    *,
    seen: tuple[str, ...],
    again: bool,
    logs: str = "",
) -> PromotionResult:
    """Decide, promote and record as the pipeline asks; the rest is the component's. Raises what `promote` raises.

    The record comes last, and only where no comparison follows: a run that failed before is not taken for done.

    Args:
        model, evaluation, name, root, run_settings: as `promote` takes them.
        settings, indexing: as JSON.
        seen: what the run trained with, as `TrainingInputs.from_json` takes it.
        again: another comparison may follow.
        logs: address of what the training pods wrote.
    """
    indexed = StepSettings.from_json(indexing, where="indexing.").enabled
    checked = PromotionSettings.from_json(settings, where="promotion.")
    trained_with = TrainingInputs.from_json(*seen)
    ended = promote(model, evaluation, name, root, checked, run_settings, examples=trained_with.trained)
    reason = "; ".join(ended.reasons)
    if ended.verdict == PROMOTE:
        follows = INDEX if indexed and ended.version else PROMOTED
    elif ended.verdict == OVERTAKEN and again:
        follows = COMPARE_AGAIN
    elif ended.verdict == WAITING:
        follows = WAITS
    else:
        follows = NOT_PROMOTED
        if ended.verdict == OVERTAKEN:
            reason = (
                f"other runs changed the champion each time that this run had compared its model with it: {reason}; "
                f"the model is at {model}; run again, and it is compared with the champion of then"
            )
    outcome = measured_outcome(
        evaluation,
        name,
        root,
        checked,
        verdict=ended.verdict,
        reasons=[reason] if ended.verdict == OVERTAKEN else ended.reasons,
        version=ended.version,
        run=run_id(),
        indexed=follows == INDEX,
        logs=logs,
    )
    outcome = replace(outcome, report=_report(root, name, evaluation, ended.decision))
    outcome.save(root, run_id())
    if follows != COMPARE_AGAIN:
        promoted = ended.version if ended.verdict == PROMOTE else ""
        record_run(root, name, trained_with, ended.verdict, promoted, reason)
    return PromotionResult(ended, follows, reason, outcome, read_evaluation_summary(evaluation), root)


def _report(root: str, name: str, evaluation: str, decision: Decision) -> str:
    return write_decided_report(root, name, run_id(), evaluation, decision, partial(_with_causes, evaluation))


def _with_causes(evaluation: str, page: str) -> str:
    """The report with what may hold the model back; a promotion that has been made does not fail for want of it."""
    try:
        return with_causes(page, explain_evaluation(evaluation))
    except Exception as fault:
        logger.warning(f"the report lacks what may hold the model back: {one_line(f'{type(fault).__name__}: {fault}')}")
        return page
