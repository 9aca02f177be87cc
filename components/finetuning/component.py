"""Fine-tuning as Kubeflow Pipelines runs it.

Annotations are not postponed in this file: kfp reads the types themselves, not their names.
"""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Model, Output

from components.kfp_context import IMAGE
from components.task_config import FOR_THE_JOB


@dsl.component(base_image=IMAGE, install_kfp_package=False, task_config_passthroughs=FOR_THE_JOB)
def finetuning(
    data: str,
    negatives: str,
    base_model: str,
    settings: str,
    encoder: str,
    job: str,
    fingerprint: str,
    task_config: dsl.TaskConfig,
    prepared_data: Input[Dataset],
    mined_negatives: Input[Dataset],
    tuned_model: Output[Model],
    training_page: Output[HTML],
    job_manifest: Output[Artifact],
    name: str = "finetuning",
) -> str:
    """Train the base model on queries, positives and hard negatives; returns the address of the new model.

    Args:
        data: Address of the data set.
        negatives: Address of the mined negatives; empty for none.
        base_model: Folder, s3:// address or hub id of the model to start from.
        settings: Training settings as JSON.
        encoder: Encoder settings as JSON.
        job: Where and on how many processes it runs, as JSON.
        fingerprint: Content of data, model and code; only decides whether a cached result is right.
        task_config: What is set on the task, given by the pipeline.
        prepared_data: The data set again, for Kubeflow's lineage.
        mined_negatives: The mined negatives again, for Kubeflow's lineage.
        tuned_model: Says where the trained model is, a sentence-transformers folder, and what it was made of.
        training_page: What was trained on what, and the loss along the way.
        job_manifest: What was started: the job's manifest on a cluster, the command on one machine.
        name: Name of this use of the step; it is part of the output's address.
    """
    from components.kfp_context import exit_on_error, output_uri, write_card, write_page

    with exit_on_error(name):
        from components.finetuning.launch import facts_of_model, launch_from_json
        from sharpen.training.report import render_page

        address = output_uri(tuned_model.uri, name)
        arguments = (settings, encoder, job)
        facts = launch_from_json(data, negatives, base_model, address, *arguments, vars(task_config), job_manifest.uri)
        write_card(tuned_model, address, facts_of_model(facts))
        write_page(training_page, render_page(facts))
    return address
