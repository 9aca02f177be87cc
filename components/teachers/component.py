"""The teachers step as Kubeflow Pipelines runs it."""

# No `from __future__ import annotations`: kfp reads the annotations as objects.

from kfp import dsl

from components.kfp_context import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def teachers(
    data: str,
    negatives: str,
    settings: str,
    encoder: str,
    fingerprint: str,
    prepared_data: dsl.Input[dsl.Dataset],
    mined_negatives: dsl.Input[dsl.Dataset],
    scored_negatives: dsl.Output[dsl.Dataset],
    teachers_report: dsl.Output[dsl.HTML],
    name: str = "teachers",
) -> str:
    """Let teachers score positives and negatives, and leave out negatives that they take for relevant.

    Args:
        data: Address of the data set.
        negatives: Address of mined negatives; empty where there are none.
        settings: Settings of the step as JSON.
        encoder: Encoder settings as JSON.
        fingerprint: Fingerprint of data, models and code; it only makes caching right.
        prepared_data: The data set again, for Kubeflow's lineage.
        mined_negatives: The negatives again, for Kubeflow's lineage.
        scored_negatives: Says where the folder with the negatives and their scores is.
        teachers_report: The report to look at.
        name: Name of this use of the step; it is part of the output's address.

    Returns:
        The address of the negatives with their scores.
    """
    from components.kfp_context import exit_on_error, output_uri
    from components.teachers.step import run_step

    with exit_on_error(name):
        address = output_uri(scored_negatives.uri, name)
        return run_step(address, data, negatives, settings, encoder).publish(scored_negatives, teachers_report)
