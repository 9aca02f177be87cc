"""Merging as Kubeflow Pipelines runs it.

Annotations are not postponed in this file: kfp reads the types themselves, not their names.
"""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Model, Output

from components.kfp_context import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def merging(
    model: str,
    base_model: str,
    data: str,
    settings: str,
    evaluation: str,
    encoder: str,
    fingerprint: str,
    tuned_model: Input[Model],
    prepared_data: Input[Dataset],
    merged_model: Output[Model],
    merging_page: Output[HTML],
    name: str = "merging",
) -> str:
    """Merge the tuned model with the base model, so that it forgets less; returns the address of the merged model.

    Where nobody asked for it and models or data do not allow it, the tuned model is passed on as it is.

    Args:
        model: Address of the tuned model.
        base_model: Folder, s3:// address or hub id of the base model.
        data: Address of the data set, whose dev queries the weight is searched on.
        settings: Settings of merging as JSON.
        evaluation: Evaluation settings as JSON, which name metric and guard set.
        encoder: Encoder settings as JSON.
        fingerprint: Content of data, models and code; only decides whether a cached result is right.
        tuned_model: The tuned model again, for Kubeflow's lineage.
        prepared_data: The data set again, for Kubeflow's lineage.
        merged_model: Says where the merged model is, a sentence-transformers folder, and what it was merged of.
        merging_page: What was merged, and gain against forgetting by weight.
        name: Name of this use of the step; it is part of the output's address.
    """
    from components.kfp_context import exit_on_error, output_uri

    with exit_on_error(name):
        from components.merging.step import run_step

        address = output_uri(merged_model.uri, name)
        logs = str(tuned_model.metadata.get("logs") or "")
        given = {"settings": settings, "evaluation": evaluation, "encoder": encoder, "logs": logs}
        return run_step(model, base_model, data, address, **given).publish(merged_model, merging_page)
