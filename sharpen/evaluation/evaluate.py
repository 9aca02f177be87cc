"""Evaluate a model on a split: first the systems that it is compared with, then the model itself."""

from __future__ import annotations

from collections.abc import Mapping

from sharpen.evaluation.inputs import Inputs
from sharpen.evaluation.measure import measure_model
from sharpen.evaluation.settings import EvaluationSettings, SettingsOf
from sharpen.evaluation.systems.publish import systems_folder
from sharpen.evaluation.systems.shared import measure_systems
from sharpen.settings import EncoderSettings
from sharpen.store import storage


def evaluate(
    model: str,
    data: str,
    split: str,
    output: str,
    settings: EvaluationSettings,
    encoder: EncoderSettings,
    *,
    references: Mapping[str, str] | None = None,
    context: Mapping[str, str] | None = None,
    settings_of: SettingsOf = "model",
    without: str = "",
) -> storage.Manifest:
    """Evaluate a model and write the evaluation folder: metrics, per-query scores, run, comparison, report.

    Systems of the settings that no reference is called by are measured first, each into an evaluation of its own below
    ``<output>-systems/``, where later evaluations can refer to it.

    Args:
        model: address of the model: a folder, ``s3://``, or a hub id.
        data: data set of ours, BEIR folder or FlagEmbedding JSONL.
        split: the queries to search; the whole corpus is searched.
        output: address of the folder to write.
        settings: what is measured and how models are compared.
        encoder: how embeddings are computed; what is set in it of what they are stands in for what the model says.
        references: name (``base``, ``champion``, any) -> address of a finished evaluation of the same queries.
        context: what else the report shows: ``negatives`` -> address of the mining step's folder.
        settings_of: ``model``: it is used as its own folder says. ``better``, for a base model: so, or with `encoder`,
            whichever gives the better primary metric on dev, or on the split itself where there is no dev.
        without: address of a file of query keys (`query_keys`): queries that are left out of the split.

    Returns:
        the marker of the written folder.

    Raises:
        InputError: no such data, split, model or reference; a reference that was measured otherwise.
        StepFailed: the model gives embeddings that are not numbers.
    """
    known = {name: address for name, address in (references or {}).items() if address}
    return measure_model(
        *(model, data, split, output, settings, encoder),
        references=known | evaluate_systems(data, split, systems_folder(output), settings, encoder, known),
        context=context,
        settings_of=settings_of,
        without=without,
    )


def check_slices(data: str, split: str, settings: EvaluationSettings) -> None:
    """Read the data and look for what the queries are divided by, before a model is trained that is measured so.

    Args:
        data, split, settings: as for `evaluate`.

    Raises:
        InputError: the queries have no such column or field; no such data or split.
    """
    if settings.slices:
        Inputs.read(data, split, settings)


def evaluate_systems(
    data: str,
    split: str,
    folder: str,
    settings: EvaluationSettings,
    encoder: EncoderSettings,
    known: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Measure the systems of the settings that do not depend on the model in question, so that it is done once.

    Another model is granted what a base model is: its own settings or those of `encoder`, whichever are better.

    Args:
        data, split, settings, encoder: as for `evaluate`.
        folder: address below which their evaluations are written, each called by its name.
        known: name -> address of evaluations that are there.

    Returns:
        name -> address of the evaluation of each.

    Raises:
        InputError, StepFailed: as `evaluate`.
    """

    def measure(model: str, address: str) -> None:
        plain = settings.of_references()
        measure_model(model, data, split, address, plain, encoder, references={}, settings_of="better")

    return measure_systems(data, split, folder, settings, encoder, measure, known)
