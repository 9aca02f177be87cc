"""Start a pre-training from a pipeline step: run the job, read what it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.job_step import parse_all, run_step
from sharpen.pretraining.settings import PretrainingSettings


def launch_from_json(
    data: str,
    base_model: str,
    output: str,
    settings: str,
    encoder: str,
    job: str,
    task_config: Mapping[str, Any] | None = None,
    manifest: str = "",
) -> dict[str, Any]:
    """Pre-train in a job of its own, by the JSON texts that a pipeline passes.

    Args:
        data: address of the data set.
        base_model: folder, ``s3://`` address or hub id.
        output: address of the new model.
        settings, encoder, job: of pre-training, encoder and job, as JSON.
        task_config, manifest: as for `run_step`.

    Returns:
        What the training wrote to ``pretraining.json``, and under ``logs`` where its pods' output is.

    Raises:
        InputError: something that the user gave cannot be used; every fault of the settings at once.
        StepFailed: the training failed.
    """
    pretraining, encoding, of_job = parse_all(settings, PretrainingSettings, "pretraining.", encoder, job)
    addresses = {"data": data, "model": base_model, "output": output}
    options = (addresses, (pretraining, encoding), of_job, "pretraining.json")
    return run_step("components.pretraining", *options, task_config=task_config, manifest=manifest)


def facts_of_model(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of the contents of pretraining.json what Kubeflow shows of the model."""
    names = ("base_model", "data", "corpus_fingerprint", "logs", "steps", "seconds", "first_loss", "last_loss")
    return {name: facts.get(name) for name in names}
