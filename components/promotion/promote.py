"""The promotion step: decide, register, and make the new version the champion."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from components.core import storage
from components.core.errors import GateRejected, InputError, StepFailed
from components.core.place import code_version, run_id
from components.promotion import registry
from components.promotion.gate import Decision, decide
from components.promotion.measured import CHAMPION, Measured, read_measured
from components.promotion.settings import PromotionSettings
from components.promotion.versions import checked_name, content_of
from components.promotion.wording import decision_page, results_section


def judge(evaluation: str, settings: PromotionSettings) -> tuple[Decision, str]:
    """The gate's decision about a finished evaluation, and the Markdown page that explains it.

    Raises:
        InputError: the evaluation is not finished, compares with nothing, or lacks a metric.
    """
    measured = read_measured(evaluation)
    decision = decide(measured, settings)
    return decision, decision_page(decision, measured)


def promote(model: str, evaluation: str, name: str, root: str, settings: PromotionSettings) -> str:
    """Register a model that passes the gate and make it the champion.

    Doing it again with the same model changes nothing and answers the same.

    Args:
        model: address of the model's finished folder.
        evaluation: address of its finished evaluation, compared with the champion or, while there is none, the base.
        name: of the model in the registry.
        root: of the registry.
        settings: the gate's, and whether the registry may be changed.

    Returns:
        The address of the registered version; empty on a dry run.

    Raises:
        InputError: an address is wrong, or the evaluation is of another model.
        GateRejected: the gate says no; nothing was registered.
        StepFailed: another version became the champion since the evaluation; the champion is untouched.
    """
    checked_name(name)
    storage.check_access(storage.join(root, "models", name), write=not settings.dry_run)
    measured = read_measured(evaluation)
    decision = decide(measured, settings)
    if not decision.promoted:
        raise GateRejected(f"{name}: not promoted: {'; '.join(decision.reasons)}")
    _check_model(model, measured)
    expected = _check_champion(measured, name, root)
    if settings.dry_run:
        return ""

    facts = {
        "run_id": run_id(),
        "code_version": code_version(),
        "data_fingerprint": measured.facts["data_fingerprint"],
        "evaluation": evaluation,
        "metrics": measured.metrics,
        "comparison": {against: asdict(reference) for against, reference in measured.against.items()},
        "gate": asdict(decision),
        "settings": settings.model_dump(mode="json"),
    }
    card = results_section(decision, measured)
    version = registry.register(root, name, model, facts, run_id=run_id(), card=card)
    reason = "; ".join(decision.reasons)
    return registry.promote(root, name, version.version, reason=reason, expected=expected).address


def _check_model(model: str, measured: Measured) -> None:
    """The evaluation must be of this model: of this address, or of the same files at another."""
    evaluated = str(measured.facts.get("model", ""))
    if _plain(evaluated) == _plain(model):
        return
    if storage.is_finished(evaluated) and storage.is_finished(model):
        ours, theirs = (content_of(storage.read_marker(address).files) for address in (model, evaluated))
        if ours == theirs:
            return
    raise InputError(f"{measured.address}: measures the model {evaluated}, not {model}; evaluate the model to promote")


def _check_champion(measured: Measured, name: str, root: str) -> str:
    """The version that the evaluation took for the champion, empty for none. It must be the champion still."""
    present = registry.read_champion(root, name)
    compared = measured.against[CHAMPION].model if CHAMPION in measured.against else ""
    if present is None:
        return ""
    if _plain(compared) != _plain(present.address):
        raise StepFailed(
            f"{name}: {present.version} is the champion, but the evaluation compared with "
            f"{compared or 'the base model only'}; evaluate again, against {present.address}"
        )
    return present.version


def _plain(address: str) -> str:
    """An address without what does not change its meaning."""
    if storage.is_remote(address):
        return address.partition("?")[0].partition("://")[2].rstrip("/")
    return str(Path(address).expanduser().resolve()) if address else ""
