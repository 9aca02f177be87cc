"""Start a training from a pipeline step: check what needs no process group, run the job, read what it wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharpen.errors import InputError
from sharpen.jobs import JobSettings, run_job
from sharpen.markdown import code_span, escaped
from sharpen.settings import EncoderSettings, SettingsModel
from sharpen.store import storage
from sharpen.training.settings import TrainingSettings

SHOWN_POINTS = 20


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
    arguments = {**addresses, **_options(training), **_options(encoder)}
    logs = run_job("components.finetuning", arguments, job, task_config=task_config, manifest=manifest)
    facts = storage.read_json(storage.join(output, "training.json"))
    return {**facts, "logs": logs} if logs else facts


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
    parsed: list[Any] = []
    faults: list[str] = []
    for text, kind, where in (
        (settings, TrainingSettings, "training."),
        (encoder, EncoderSettings, "encoder."),
        (job, JobSettings, "job."),
    ):
        try:
            parsed.append(kind.from_json(text, where=where))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    return launch(data, negatives, base_model, output, *parsed, task_config=task_config, manifest=manifest)


def numbers(facts: dict[str, Any]) -> dict[str, float]:
    """The figures of a training that the pipeline shows beside the step."""
    names = ("steps", "seconds", "queries_per_second", "first_loss", "last_loss", "negatives_per_query")
    found = {name: facts.get(name) for name in (*names, "random_negatives_per_query", "dev_ndcg_at_10")}
    return {name: float(value) for name, value in found.items() if value is not None}


def write_page(facts: dict[str, Any], path: str) -> None:
    """Write what `training.json` says as Markdown, for the UI: what was trained on what, and the loss along the way."""
    lines = [
        f"Base model {code_span(facts['base_model'])}, data {code_span(facts['data'])}, negatives "
        f"{code_span(facts['negatives'] or 'none')}; {facts['world_size']} process(es) on {facts['device']}, code "
        f"{facts['code_version']}",
        "",
        "| figure | value |",
        "|---|---:|",
        *(f"| {name.replace('_', ' ')} | {value:,.4g} |" for name, value in numbers(facts).items()),
        "",
        *(f"- {escaped(warning)}" for warning in facts["warnings"]),
        *([f"- {facts['time_limit']['described']}"] if facts.get("time_limit") else []),
        *([f"- Logs of every pod: {code_span(facts['logs'])}"] if facts.get("logs") else []),
        "",
        "| step | loss |",
        "|---:|---:|",
    ]
    points = [point for point in facts["log"] if "loss" in point]
    # the first, the last, and some of those between
    shown = points[: -1 : max(1, len(points) // SHOWN_POINTS)] + points[-1:]
    lines += [f"| {point['step']} | {point['loss']:.4f} |" for point in shown]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _options(settings: SettingsModel) -> dict[str, str]:
    """Command-line options for the settings that were set; defaults are the job's own."""
    values = settings.model_dump(mode="json", exclude_unset=True)
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
