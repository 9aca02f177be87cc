"""The data_prep step as Kubeflow Pipelines runs it."""

# no `from __future__ import annotations`: kfp needs the annotations as objects

from typing import NamedTuple

from kfp import dsl

from components.kfp_context import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def data_prep(
    train_data: str,
    eval_data: str,
    settings: str,
    fingerprint: str,
    known: str,
    plan: str,
    prepared_data: dsl.Output[dsl.Dataset],
    example_hashes: dsl.Output[dsl.Artifact],
    data_page: dsl.Output[dsl.HTML],
) -> NamedTuple(  # type: ignore[valid-type]
    "Data", [("Output", str), ("data", str), ("examples", str), ("reason", str)]
):
    """Turn the user's data into a checked, de-duplicated and split data set, and see whether enough of it is new.

    Args:
        train_data: Addresses of the training data, separated by commas or as a JSON list. Empty (the run is skipped):
            nothing is done.
        eval_data: Addresses of the evaluation data; may be empty.
        settings: Settings of the step as JSON.
        fingerprint: Content fingerprint of data and code; it makes caching right and is not read.
        known: What the examples are compared with, as JSON; empty for nothing, as the run goes on anyway.
        plan: What earlier runs fix and what is trained on, as JSON; empty for nothing, and everything.
        prepared_data: Says where the data set is: passages, queries, judgements, quarantine, statistics.
        example_hashes: Says where the hashes of the examples are, for the next run's decision.
        data_page: What was read, merged, left out and held out; lengths of the texts.

    Returns:
        The decision, train or skip; address of the data set; what of it the run's record holds, as JSON; the reason of
        a decision that was made here.
    """
    from components.data_prep.step import run_step
    from components.kfp_context import exit_on_error, output_uri, write_card

    with exit_on_error("data_prep"):
        data, examples = output_uri(prepared_data.uri, "data_prep"), output_uri(example_hashes.uri, "examples")
        result = run_step(data, examples, train_data, eval_data, settings, known, plan)
        result.prepared.publish(prepared_data, data_page)
        write_card(example_hashes, examples if result.examples else "", {})
        return result.outputs  # type: ignore[return-value]
