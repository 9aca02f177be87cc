"""A step that runs as a job of its own: its settings from JSON, its command line, what it wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sharpen.errors import InputError
from sharpen.jobs import JobSettings, run_job
from sharpen.settings import EncoderSettings, SettingsModel
from sharpen.store import storage

Step = TypeVar("Step", bound=SettingsModel)


def parse_all(
    settings: str, kind: type[Step], where: str, encoder: str, job: str
) -> tuple[Step, EncoderSettings, JobSettings]:
    """The settings in the JSON texts that a pipeline passes to such a step.

    Args:
        settings, encoder, job: the texts.
        kind, where: model of the step's own settings, and the prefix of their names in messages.

    Raises:
        InputError: with the faults of all of them.
    """
    texts = ((settings, kind, where), (encoder, EncoderSettings, "encoder."), (job, JobSettings, "job."))
    parsed: list[Any] = []
    faults: list[str] = []
    for text, model, prefix in texts:
        try:
            parsed.append(model.from_json(text, where=prefix))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    chosen, encoding, of_job = parsed
    return chosen, encoding, of_job


def run_step(
    module: str,
    arguments: Mapping[str, str],
    settings: Sequence[SettingsModel],
    job: JobSettings,
    facts: str,
    task_config: Mapping[str, Any] | None = None,
    manifest: str = "",
) -> dict[str, Any]:
    """Run a step's command in a job.

    Args:
        module: of the command.
        arguments: its addresses, ``output`` among them.
        settings: whose values become options where they were set; defaults are the job's own.
        job: where and on how many processes it runs.
        facts: name of the JSON file that it writes into its output.
        task_config: what is set on the pipeline's task: the fields of ``kfp.dsl.TaskConfig``.
        manifest: address of a file for what is started; empty: none.

    Returns:
        The contents of that file, and under ``logs`` where the pods' output is, if they left any.

    Raises:
        InputError: something that the user gave cannot be used.
        StepFailed: the job failed.
    """
    options = {name: value for one in settings for name, value in _options(one).items()}
    logs = run_job(module, {**arguments, **options}, job, task_config=task_config, manifest=manifest)
    found = storage.read_json(storage.join(arguments["output"], facts))
    return {**found, "logs": logs} if logs else found


def _options(settings: SettingsModel) -> dict[str, str]:
    values = settings.model_dump(mode="json", exclude_unset=True)
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
