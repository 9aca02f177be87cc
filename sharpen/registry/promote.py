"""The promotion step: decide, register, and make the new version the champion."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sharpen.errors import InputError, Overtaken
from sharpen.registry import approval, decisions, registry
from sharpen.registry.earlier_runs import trained_examples, trained_queries
from sharpen.registry.gate import PROMOTE, REJECT, Decision, decide
from sharpen.registry.gate.evaluation_summary import CHAMPION, EvaluationSummary, read_evaluation_summary
from sharpen.registry.model_card import promoted_card
from sharpen.registry.run_record import OVERTAKEN, WAITING
from sharpen.registry.settings import PromotionSettings
from sharpen.registry.versions import checked_name, content_of
from sharpen.run_context import run_id
from sharpen.store import storage
from sharpen.version import code_version


@dataclass(frozen=True)
class Promotion:
    """How a promotion ended.

    Attributes:
        verdict: ``promote``: the model is the champion, or was made it by this very evaluation before. ``reject``: the
            gate says no, or who was asked for approval. ``waiting``: it is registered and waits for approval.
            ``overtaken``: another version has become the champion since the evaluation, so the model must be compared
            with that one first.
        reasons: why, a line each.
        decision: the gate's.
        version: address of the version that the model was registered as; empty where none was promoted or waits.
        champion: address of the champion now; empty for none.
    """

    verdict: str
    reasons: list[str]
    decision: Decision
    version: str = ""
    champion: str = ""


def judge(evaluation: str, name: str, root: str, settings: PromotionSettings, run_settings: str = "") -> Decision:
    """The gate's decision about a finished evaluation; it is kept in the registry, except on a dry run.

    Args:
        evaluation: its address.
        name: of the model in the registry.
        root: of the registry.
        settings: the rules.
        run_settings: what the user set for the run, as JSON, for the list of runs.

    Raises:
        InputError: the evaluation is not finished, compares with nothing, or lacks a metric.
    """
    measured = read_evaluation_summary(evaluation)
    decision = decide(measured, settings)
    if not settings.dry_run:
        decisions.record(root, name, measured, decision, settings, run_settings)
    return decision


def promote(
    model: str,
    evaluation: str,
    name: str,
    root: str,
    settings: PromotionSettings,
    run_settings: str = "",
    *,
    examples: str = "",
) -> Promotion:
    """Decide about a model; register one that passes the gate, and make it the champion or let it wait for approval.

    Done again with the same model and evaluation after any end, it completes what is missing and answers the same.

    Args:
        model: address of the model's finished folder.
        evaluation: address of its finished evaluation, compared with the champion or, while there is none, the base.
        name: of the model in the registry.
        root: of the registry.
        settings: the gate's, and whether the registry may be changed.
        run_settings: as `judge` takes them.
        examples: address of the hashes of what the model was trained on; empty where that is not known.

    Returns:
        What came of it; a rejection, a wait and a lost race are answers, and leave the champion as it is.

    Raises:
        InputError: an address is wrong, the evaluation is of another model, or `judge` raises it.
        StepFailed: the store does not answer, or the model's files are damaged.
    """
    checked_name(name)
    storage.check_access(storage.join(root, "models", name), write=not settings.dry_run)
    decision = judge(evaluation, name, root, settings, run_settings)
    ended = partial(Promotion, decision=decision)
    measured = read_evaluation_summary(evaluation)
    content = _checked_content(model, measured)
    present = registry.read_champion(root, name)
    now = present.address if present else ""
    if not decision.promoted:
        return ended(REJECT, decision.reasons, champion=now)
    if present and present.content == content:
        since = "" if present.run_id == run_id() else f" already: it is this very model, promoted {present.promoted_at}"
        reasons = [f"{present.version} is the champion{since}", *decision.reasons]
        return ended(PROMOTE, reasons, version=now, champion=now)
    if present and (reason := _overtaken(measured, present)):
        if before := present.promoted_by(evaluation):
            reasons = [f"{before} was made the champion; {present.version} has followed it since"]
            return ended(PROMOTE, reasons, version=registry.version_address(root, name, before), champion=now)
        return ended(OVERTAKEN, [reason], champion=now)
    if settings.dry_run:
        return ended(PROMOTE, ["only a report: the gate passed, nothing was promoted"], champion=now)
    card = partial(
        promoted_card, name=name, model=model, decision=decision, measured=measured, run_settings=run_settings
    )
    provenance = _provenance(measured, decision, settings)
    made = registry.register(root, name, model, provenance, run_id=run_id(), card=card).version
    trained_queries.keep(root, name, made, evaluation)
    trained_examples.keep(root, name, made, examples, present.version if present else "")
    follow = _wait_for_approval if settings.approval else _make_champion
    return follow(root, name, made, evaluation, decision, present)


def _make_champion(
    root: str, name: str, made: str, evaluation: str, decision: Decision, present: registry.Champion | None
) -> Promotion:
    """The version is the champion, unless another one has become it meanwhile."""
    ended, why = partial(Promotion, decision=decision), "; ".join(decision.reasons)
    expected = present.version if present else ""
    try:
        champion = registry.promote(root, name, made, reason=why, expected=expected, evaluation=evaluation).address
    except Overtaken as lost:
        return ended(OVERTAKEN, [str(lost)], champion=registry.champion_address(root, name))
    return ended(PROMOTE, decision.reasons, version=champion, champion=champion)


def _wait_for_approval(
    root: str, name: str, made: str, evaluation: str, decision: Decision, present: registry.Champion | None
) -> Promotion:
    """The version waits, unless somebody has rejected it before, by this very evaluation."""
    requested = approval.request(
        root,
        name,
        made,
        compared_with=present.version if present else "",
        evaluation=evaluation,
        reasons=decision.reasons,
    )
    ended = partial(Promotion, decision=decision, champion=present.address if present else "")
    if requested.state == approval.REJECTED:
        return ended(REJECT, [f"{made} was {requested.decision}"])
    version = registry.version_address(root, name, made)
    return ended(WAITING, decision.reasons, version=version)


def _provenance(measured: EvaluationSummary, decision: Decision, settings: PromotionSettings) -> dict[str, Any]:
    return {
        "run_id": run_id(),
        "code_version": code_version(),
        "data_fingerprint": measured.facts["data_fingerprint"],
        "evaluation": measured.address,
        "metrics": measured.metrics,
        "comparison": {against: asdict(reference) for against, reference in measured.against.items()},
        "gate": asdict(decision),
        "settings": settings.model_dump(mode="json"),
    }


def _checked_content(model: str, measured: EvaluationSummary) -> str:
    """The model's content; the evaluation must be of this model: of this address, or of the same files at another."""
    content = content_of(storage.read_manifest(model).files)
    evaluated = str(measured.facts.get("model", ""))
    if _plain(evaluated) == _plain(model):
        return content
    if storage.is_complete(evaluated) and content_of(storage.read_manifest(evaluated).files) == content:
        return content
    raise InputError(f"{measured.address}: measures the model {evaluated}, not {model}; evaluate the model to promote")


def _overtaken(measured: EvaluationSummary, present: registry.Champion) -> str:
    """Why the comparison does not count any more; empty when it was with the present champion."""
    compared = measured.against[CHAMPION].model if CHAMPION in measured.against else ""
    if _plain(compared) == _plain(present.address):
        return ""
    return (
        f"{present.version} is the champion, but the evaluation compared with {compared or 'the base model only'}; "
        f"evaluate again, against {present.address}"
    )


def _plain(address: str) -> str:
    """An address without what does not change its meaning."""
    if storage.is_remote(address):
        return address.partition("?")[0].partition("://")[2].rstrip("/")
    return str(Path(address).expanduser().resolve()) if address else ""
