"""The promotion step as pipeline components: who is champion, does the candidate pass, and its promotion."""

# No `from __future__ import annotations`: kfp reads the annotations as objects.

from typing import NamedTuple

from kfp import dsl

from components.core.place import LAUNCHER_IMAGE


@dsl.component(base_image=LAUNCHER_IMAGE, install_kfp_package=False)
def current_champion(model_name: str, store: str, base_model: str, start_from: str) -> NamedTuple(
    "Champion", [("champion", str), ("start_model", str), ("last_run", str)]
):  # type: ignore[valid-type]
    """Look up the model in use, which a new one must beat, and what the last finished run trained with.

    Args:
        model_name: Name of the model in the registry.
        store: Root of the registry.
        base_model: Model to start from where it is not the champion.
        start_from: base or champion.

    Returns:
        Address of the champion, empty while no version was promoted; of the model that training starts from; record of
        the last finished run as JSON, empty if there is none.
    """
    from components.core.place import reported
    from components.promotion.last_run import read
    from components.promotion.registry import champion_address

    with reported("current_champion"):
        address, last = champion_address(store, model_name), read(store, model_name)
        start = address if start_from == "champion" and address else base_model
        print(f"champion: {address or 'none yet'}; training starts from {start}")
    return address, start, last.as_json() if last else ""  # type: ignore[return-value]


@dsl.component(base_image=LAUNCHER_IMAGE, install_kfp_package=False)
def gate(evaluation: str, settings: str, decision: dsl.Output[dsl.Markdown], figures: dsl.Output[dsl.Metrics]) -> str:
    """Decide whether the tuned model is good enough to be promoted. A rejection is an answer, not a failure.

    Args:
        evaluation: Address of the tuned model's evaluation, compared with the champion or the base model.
        settings: Promotion settings as JSON.
        decision: Each rule with its figures.
        figures: The gain, its interval, and whether it was enough.

    Returns:
        promote or reject.
    """
    from pathlib import Path

    from components.core.place import reported, show_metrics
    from components.promotion.promote import judge
    from components.promotion.settings import PromotionSettings

    with reported("gate"):
        answer, page = judge(evaluation, PromotionSettings.from_json(settings, where="promotion."))
        Path(decision.path).write_text(page, encoding="utf-8")
        show_metrics(figures, answer.figures)
        decision.metadata.update(verdict=answer.verdict, reasons=answer.reasons, evaluation=evaluation)
        print("\n".join([f"{answer.verdict}:", *answer.reasons]))
    return answer.verdict


@dsl.component(base_image=LAUNCHER_IMAGE, install_kfp_package=False)
def promotion(
    model: str,
    evaluation: str,
    model_name: str,
    store: str,
    settings: str,
    promoted: dsl.Output[dsl.Model],
    page: dsl.Output[dsl.Markdown],
) -> str:
    """Copy the model into the registry as its next version and make that the champion.

    Args:
        model: Address of the tuned model.
        evaluation: Address of its evaluation.
        model_name: Name of the model in the registry.
        store: Root of the registry.
        settings: Promotion settings as JSON.
        promoted: The registered version.
        page: Where the new champion is, and how it is fetched.

    Returns:
        Address of the registered version; empty on a dry run.
    """
    from components.core.place import reported
    from components.promotion.promote import promote
    from components.promotion.settings import PromotionSettings
    from components.promotion.wording import write_promotion_page

    with reported("promotion"):
        checked = PromotionSettings.from_json(settings, where="promotion.")
        address = promote(model, evaluation, model_name, store, checked)
        promoted.metadata.update(address=address, model_name=model_name)
        write_promotion_page(page.path, address, model_name, store)
        print(f"champion: {address}" if address else "dry run: nothing was promoted")
    return address


@dsl.component(base_image=LAUNCHER_IMAGE, install_kfp_package=False)
def remember(model_name: str, store: str, seen: str, verdict: str, version: str = "", reason: str = "") -> str:
    """Record in the registry what a finished run trained with, or why a run was skipped; the next run reads it.

    Args:
        model_name: Name of the model in the registry.
        store: Root of the registry.
        seen: What the run trained with, as JSON.
        verdict: promote, reject or skip.
        version: Address of the version that was promoted; empty for none.
        reason: Why the run was skipped.

    Returns:
        The record as JSON.
    """
    from components.core.last_run import Seen
    from components.core.place import reported
    from components.promotion.last_run import settle

    with reported("remember"):
        return settle(store, model_name, Seen.from_json(seen), verdict, version, reason)
