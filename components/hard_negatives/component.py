"""The mining step as Kubeflow Pipelines runs it."""

# No `from __future__ import annotations`: kfp reads the annotations as objects.

from kfp import dsl

from components.kfp_context import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def hard_negatives(
    data: str,
    model: str,
    settings: str,
    encoder: str,
    fingerprint: str,
    prepared_data: dsl.Input[dsl.Dataset],
    mined_negatives: dsl.Output[dsl.Dataset],
    mining_report: dsl.Output[dsl.HTML],
    name: str = "hard_negatives",
) -> str:
    """Mine hard negatives for the training queries, without those that score like positives.

    Args:
        data: Address of the data set.
        model: Address of the model that scores the passages.
        settings: Mining settings as JSON.
        encoder: Encoder settings as JSON.
        fingerprint: Fingerprint of data, models and code; it only makes caching right.
        prepared_data: The data set again, for Kubeflow's lineage.
        mined_negatives: Says where the folder with the negatives and the report is.
        mining_report: The report to look at.
        name: Name of this use of the step; it is part of the output's address.

    Returns:
        The address of the negatives; empty where mining is switched off.
    """
    from components.hard_negatives.step import run_step
    from components.kfp_context import exit_on_error, output_uri

    with exit_on_error(name):
        address = output_uri(mined_negatives.uri, name)
        return run_step(address, data, model, settings, encoder).publish(mined_negatives, mining_report)
