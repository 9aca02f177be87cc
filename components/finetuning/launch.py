"""Start a training from a pipeline step: check what needs no process group, run the job, read what it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.job_step import parse_all, run_step
from sharpen.jobs import JobSettings
from sharpen.settings import EncoderSettings
from sharpen.training.settings import TrainingSettings


def launch(
    data: str,
    negatives: str,
    base_model: str,
    output: str,
    training: TrainingSettings,
    encoder: EncoderSettings,
    job: JobSettings,
    task_config: Mapping[str, Any] | None = None,
    manifest: str = "",
) -> dict[str, Any]:
    """Fine-tune in a job of its own.

    Args:
        data: address of the data set.
        negatives: address of mined negatives; empty: none.
        base_model: folder, ``s3://`` address or hub id.
        output: address of the new model.
        training: how to train.
        encoder: how texts become embeddings.
        job: where and on how many processes it runs.
        task_config: what is set on the pipeline's task: the fields of ``kfp.dsl.TaskConfig``.
        manifest: address of a file for what is started; empty: none.

    Returns:
        What the training wrote to ``training.json``, and under ``logs`` where its pods' output is, if they left any.

    Raises:
        InputError: something that the user gave cannot be used.
        StepFailed: the training failed.
    """
    addresses = {"data": data, "model": base_model, "output": output}
    if negatives:
        addresses["negatives"] = negatives
    options = (addresses, (training, encoder), job, "training.json")
    return run_step("components.finetuning", *options, task_config=task_config, manifest=manifest)


def launch_from_json(
    data: str,
    negatives: str,
    base_model: str,
    output: str,
    settings: str,
    encoder: str,
    job: str,
    task_config: Mapping[str, Any] | None = None,
    manifest: str = "",
) -> dict[str, Any]:
    """`launch` with the settings as the JSON texts that a pipeline passes; every fault of theirs is told at once."""
    parsed = parse_all(settings, TrainingSettings, "training.", encoder, job)
    return launch(data, negatives, base_model, output, *parsed, task_config=task_config, manifest=manifest)


def facts_of_model(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of the contents of training.json what Kubeflow shows of the model: what it was made of, and how training went."""
    made_of = ("base_model", "data", "data_fingerprint", "negatives", "logs")
    figures = ("steps", "seconds", "first_loss", "last_loss", "dev_ndcg_at_10")
    return {name: facts.get(name) for name in (*made_of, *figures)}
