"""The promotion step as pipeline components: who is champion, does the candidate pass, and its promotion."""

# No `from __future__ import annotations`: kfp reads the annotations as objects.

from kfp import dsl

from components.core.place import LAUNCHER_IMAGE


@dsl.component(base_image=LAUNCHER_IMAGE, install_kfp_package=False)
def current_champion(model_name: str, store: str) -> str:
    """Look up the model in use, which a new one must beat.

    Args:
        model_name: Name of the model in the registry.
        store: Root of the registry.

    Returns:
        Address of the champion; empty while no version was promoted.
    """
    from components.core.place import reported
    from components.promotion.registry import champion_address

    with reported("current_champion"):
        address = champion_address(store, model_name)
        print(f"champion: {address or 'none yet'}")
    return address


@dsl.component(base_image=LAUNCHER_IMAGE, install_kfp_package=False)
def gate(evaluation: str, settings: str, decision: dsl.Output[dsl.Markdown]) -> str:
    """Decide whether the tuned model is good enough to be promoted. A rejection is an answer, not a failure.

    Args:
        evaluation: Address of the tuned model's evaluation, compared with the champion or the base model.
        settings: Promotion settings as JSON.
        decision: Each rule with its figures.

    Returns:
        promote or reject.
    """
    from pathlib import Path

    from components.core.place import reported
    from components.promotion.promote import judge
    from components.promotion.settings import PromotionSettings

    with reported("gate"):
        answer, page = judge(evaluation, PromotionSettings.from_json(settings, where="promotion."))
        Path(decision.path).write_text(page, encoding="utf-8")
        decision.metadata.update(verdict=answer.verdict, reasons=answer.reasons, evaluation=evaluation)
        print("\n".join([f"{answer.verdict}:", *answer.reasons]))
    return answer.verdict


@dsl.component(base_image=LAUNCHER_IMAGE, install_kfp_package=False)
def promotion(
    model: str, evaluation: str, model_name: str, store: str, settings: str, promoted: dsl.Output[dsl.Model]
) -> str:
    """Copy the model into the registry as its next version and make that the champion.

    Args:
        model: Address of the tuned model.
        evaluation: Address of its evaluation.
        model_name: Name of the model in the registry.
        store: Root of the registry.
        settings: Promotion settings as JSON.
        promoted: The registered version.

    Returns:
        Address of the registered version; empty on a dry run.
    """
    from components.core.place import reported
    from components.promotion.promote import promote
    from components.promotion.settings import PromotionSettings

    with reported("promotion"):
        checked = PromotionSettings.from_json(settings, where="promotion.")
        address = promote(model, evaluation, model_name, store, checked)
        promoted.metadata.update(address=address, model_name=model_name)
        print(f"champion: {address}" if address else "dry run: nothing was promoted")
    return address
