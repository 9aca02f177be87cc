"""Fine-tuning as Kubeflow Pipelines runs it.

Annotations are not postponed in this file: kfp reads the types themselves, not their names.
"""

from kfp import dsl
from kfp.dsl import Metrics, Model, Output

from components.core.place import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def finetuning(
    data: str,
    negatives: str,
    base_model: str,
    settings: str,
    encoder: str,
    job: str,
    fingerprint: str,
    model: Output[Model],
    statistics: Output[Metrics],
    name: str = "finetuning",
) -> str:
    """Train the base model on queries, positives and hard negatives; returns the address of the new model.

    Args:
        data: Address of the data set.
        negatives: Address of the mined negatives; empty for none.
        base_model: Folder, s3:// address or hub id of the model to start from.
        settings: Training settings as JSON.
        encoder: Encoder settings as JSON.
        job: Processes and threads as JSON.
        fingerprint: Content of data, model and code; only decides whether a cached result is right.
        model: The trained model, a sentence-transformers folder.
        statistics: Steps, loss, speed and negatives per query.
        name: Name of this use of the step; it is part of the output's address.
    """
    from components.core.place import output_address, reported, show_metrics

    with reported(name):
        from components.finetuning.launch import launch_from_json, numbers

        model.uri = output_address(model.uri, name)
        facts = launch_from_json(data, negatives, base_model, model.uri, settings, encoder, job)
        show_metrics(statistics, numbers(facts))
        model.metadata.update(base_model=base_model, data_fingerprint=facts["data_fingerprint"], **numbers(facts))
    return model.uri
