"""The promotion step as Kubeflow Pipelines runs it."""

# No `from __future__ import annotations`: kfp reads the annotations as objects.

from typing import NamedTuple

from kfp import dsl

from components.kfp_context import LAUNCHER_IMAGE


@dsl.component(base_image=LAUNCHER_IMAGE, install_kfp_package=False)
def promotion(
    model: str,
    evaluation: str,
    model_name: str,
    store: str,
    settings: str,
    indexing: str,
    run_settings: str,
    run_inputs: str,
    examples: str,
    again: bool,
    tuned_model: dsl.Input[dsl.Model],
    promoted_model: dsl.Output[dsl.Model],
    decision_page: dsl.Output[dsl.HTML],
    decision_metrics: dsl.Output[dsl.Metrics],
    decision: dsl.Output[dsl.Artifact],
) -> NamedTuple(  # type: ignore[valid-type]
    "Promotion", [("Output", str), ("verdict", str), ("version", str), ("champion", str), ("reason", str)]
):
    """Decide whether the tuned model is good enough; if so, register it and make it the champion; record the run.

    A rejection is an answer, not a failure, and so is another version that has become the champion since the
    evaluation.

    Args:
        model: Address of the tuned model.
        evaluation: Address of its evaluation, compared with the champion or the base model.
        model_name: Name of the model in the registry.
        store: Root of the registry.
        settings: Promotion settings as JSON.
        indexing: Indexing settings as JSON, which say whether a promoted model is indexed.
        run_settings: What the user set for the run, as JSON, for the list of runs.
        run_inputs: What, besides the data, the run trained with, as JSON for the record.
        examples: Of the data, what the record holds, as JSON.
        again: Whether the model can be compared once more, with a champion that has changed.
        tuned_model: The tuned model again, for Kubeflow's lineage.
        promoted_model: Says which version was registered, its gain and what it was made of.
        decision_page: How it ended, each rule with its figures, and how the new champion is fetched.
        decision_metrics: About a dozen figures by which runs are compared.
        decision: gate.json: the same for programs, with the settings by which each model was measured.

    Returns:
        What follows, index, promoted, compare again, waits for approval or not promoted; the verdict, promote, reject,
        waiting or overtaken; address of the registered version, empty for none; address of the champion now; the reason
        in words.
    """
    from components.kfp_context import exit_on_error
    from components.promotion.step import run_step

    with exit_on_error("promotion"):
        given = (model, evaluation, model_name, store, settings, indexing, run_settings)
        logs = str(tuned_model.metadata.get("logs") or "")
        result = run_step(*given, seen=(run_inputs, examples), again=again, logs=logs)
        return result.publish(promoted_model, decision_page, decision_metrics, decision)  # type: ignore[return-value]
