"""The promotion step as pipeline components: who is champion, does the candidate pass, and its promotion."""

# No `from __future__ import annotations`: kfp reads the annotations as objects.

from typing import NamedTuple

from kfp import dsl

from components.kfp_context import LAUNCHER_IMAGE


@dsl.component(base_image=LAUNCHER_IMAGE, install_kfp_package=False)
def current_champion(model_name: str, store: str, base_model: str, start_from: str) -> NamedTuple(
    "Champion", [("champion", str), ("start_model", str), ("last_run", str), ("trained_queries", str)]
):  # type: ignore[valid-type]
    """Look up the model in use, which a new one must beat, and what the last finished run trained with.

    Args:
        model_name: Name of the model in the registry.
        store: Root of the registry.
        base_model: Model to start from where it is not the champion.
        start_from: base or champion.

    Returns:
        Address of the champion, empty while no version was promoted; of the model that training starts from; record of
        the last finished run as JSON, empty if there is none; of the keys of queries that champions were trained on,
        empty if there are none.
    """
    from components.kfp_context import exit_on_error
    from sharpen.registry.last_run import read
    from sharpen.registry.registry import champion_address
    from sharpen.registry.trained_queries import newest

    with exit_on_error("current_champion", first_contact=True):
        address, last = champion_address(store, model_name), read(store, model_name)
        start = address if start_from == "champion" and address else base_model
        print(f"champion: {address or 'none yet'}; training starts from {start}")
        trained = newest(store, model_name)
    return address, start, last.as_json() if last else "", trained  # type: ignore[return-value]


@dsl.component(base_image=LAUNCHER_IMAGE, install_kfp_package=False)
def gate(
    evaluation: str,
    model_name: str,
    store: str,
    settings: str,
    run_settings: str,
    decision: dsl.Output[dsl.Markdown],
    figures: dsl.Output[dsl.Metrics],
    record: dsl.Output[dsl.Artifact],
) -> NamedTuple("Verdict", [("Output", str), ("reason", str)]):  # type: ignore[valid-type]
    """Decide whether the tuned model is good enough to be promoted. A rejection is an answer, not a failure.

    Args:
        evaluation: Address of the tuned model's evaluation, compared with the champion or the base model.
        model_name: Name of the model in the registry.
        store: Root of the registry, where the decision is kept.
        settings: Promotion settings as JSON.
        run_settings: What the user set for the run, as JSON, for the list of runs.
        decision: Each rule with its figures.
        figures: The gain, its interval, and whether it was enough.
        record: gate.json: the same for programs, with the settings by which each model was measured.

    Returns:
        promote or reject; the reason in words.
    """
    from pathlib import Path

    from components.kfp_context import exit_on_error, log_metrics
    from sharpen.registry.pages import decision_record
    from sharpen.registry.promote import judge
    from sharpen.registry.settings import PromotionSettings

    with exit_on_error("gate"):
        answer, page = judge(
            evaluation, model_name, store, PromotionSettings.from_json(settings, where="promotion."), run_settings
        )
        Path(decision.path).write_text(page, encoding="utf-8")
        Path(record.path).write_text(decision_record(answer, evaluation), encoding="utf-8")
        log_metrics(figures, answer.figures)
        decision.metadata.update(verdict=answer.outcome, reasons=answer.reasons, evaluation=evaluation)
        print("\n".join([f"{answer.verdict}:", *answer.reasons]))
    return answer.outcome, "; ".join(answer.reasons)  # type: ignore[return-value]


@dsl.component(base_image=LAUNCHER_IMAGE, install_kfp_package=False)
def promotion(
    model: str,
    evaluation: str,
    model_name: str,
    store: str,
    settings: str,
    with_index: str,
    again: bool,
    promoted: dsl.Output[dsl.Model],
    page: dsl.Output[dsl.Markdown],
) -> NamedTuple(  # type: ignore[valid-type]
    "Promotion", [("Output", str), ("verdict", str), ("version", str), ("champion", str), ("reason", str)]
):
    """Copy the model into the registry as its next version and make that the champion.

    If another version has become the champion since the evaluation, that is an answer, not a failure.

    Args:
        model: Address of the tuned model.
        evaluation: Address of its evaluation.
        model_name: Name of the model in the registry.
        store: Root of the registry.
        settings: Promotion settings as JSON.
        with_index: Whether the index of a promoted model is wanted, yes or no.
        again: Whether the model can be compared once more, with a champion that has changed.
        promoted: The registered version.
        page: How it ended; where the new champion is, and how it is fetched.

    Returns:
        What follows, index, promoted, compare again or not promoted; the verdict, promote, reject or overtaken; address
        of the registered version, empty for none; address of the champion now; the reason in words.
    """
    from components.kfp_context import exit_on_error
    from components.promotion.step import run_step

    with exit_on_error("promotion"):
        result = run_step(model, evaluation, model_name, store, settings, with_index, again=again)
        promoted.metadata.update(address=result.promotion.version, model_name=model_name)
        result.publish(page, evaluation)
    return result.outputs  # type: ignore[return-value]


@dsl.component(base_image=LAUNCHER_IMAGE, install_kfp_package=False)
def remember(model_name: str, store: str, seen: str, verdict: str, version: str = "", reason: str = "") -> str:
    """Record in the registry what a finished run trained with, or why a run was skipped; the next run reads it.

    Args:
        model_name: Name of the model in the registry.
        store: Root of the registry.
        seen: What the run trained with, as JSON.
        verdict: promote, reject, overtaken or skip.
        version: Address of the version that was promoted; empty for none.
        reason: Why it ended so.

    Returns:
        The record as JSON.
    """
    from components.kfp_context import exit_on_error
    from sharpen.registry.last_run import record_run
    from sharpen.registry.run_record import TrainingInputs

    with exit_on_error("remember"):
        return record_run(store, model_name, TrainingInputs.from_json(seen), verdict, version, reason)
