"""The query_generation step as Kubeflow Pipelines runs it."""

# No `from __future__ import annotations`: kfp reads the annotations as objects.

from typing import NamedTuple

from kfp import dsl

from components.kfp_context import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def query_generation(
    train_data: str,
    eval_data: str,
    base_model: str,
    settings: str,
    encoder: str,
    fingerprint: str,
    generated_queries: dsl.Output[dsl.Dataset],
    generation_report: dsl.Output[dsl.HTML],
) -> NamedTuple("Generation", [("Output", str), ("queries", str)]):  # type: ignore[valid-type]
    """Let a language model write queries for documents, to be trained on beside the user's data.

    Args:
        train_data: Addresses of the training data; may be empty.
        eval_data: Addresses of the evaluation data; where there are some, training queries are shown as examples.
        base_model: Model that must find a query's passage.
        settings: Settings of the step as JSON.
        encoder: Encoder settings as JSON.
        fingerprint: Fingerprint of documents, model and code; it only makes caching right.
        generated_queries: Says where the data set of the queries is.
        generation_report: What was written and left out, and what it cost.

    Returns:
        The training data with the queries as one more source; the address of the queries, empty where the run is
        skipped.
    """
    from components.kfp_context import exit_on_error, output_uri
    from components.query_generation.step import run_step

    with exit_on_error("query_generation"):
        address = output_uri(generated_queries.uri, "query_generation")
        result = run_step(address, train_data, eval_data, base_model, settings, encoder)
        queries = result.written.publish(generated_queries, generation_report)
        return result.train_data, queries  # type: ignore[return-value]
