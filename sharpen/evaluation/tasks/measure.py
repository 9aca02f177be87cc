"""Measure a model at the tasks of a split, compare it with references, and write the files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sharpen.embeddings import LazyEncoder, embed_texts
from sharpen.evaluation import artifact
from sharpen.evaluation.artifact import EvaluationArtifact
from sharpen.evaluation.model_settings import PromptedQueries, Usage
from sharpen.evaluation.retrieval import checked_finite
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.evaluation.tasks.bootstrap import paired_bootstrap
from sharpen.evaluation.tasks.metrics import METRICS, task_metrics
from sharpen.evaluation.tasks.protocols import Encoders, Outputs, outputs_of
from sharpen.evaluation.tasks.task_set import TaskSet
from sharpen.multiple_testing import holm

TASK_OUTPUTS = {
    "task_type": pl.String,
    "source": pl.String,
    "text_id": pl.String,
    "group": pl.String,
    "truth": pl.Float64,
    "values": pl.List(pl.Float64),
}
"""Columns of task_outputs.parquet: a row an item of a task, as `protocols.Outputs` has it."""


def measure_tasks(
    folder: Path,
    tasks: Sequence[TaskSet],
    loaded: LazyEncoder,
    usage: Usage,
    references: Mapping[str, EvaluationArtifact],
    settings: EvaluationSettings,
) -> dict[str, float]:
    """Measure and compare; nothing is written where there is no task.

    Args:
        folder: of the evaluation; gets tasks.json and task_outputs.parquet.
        tasks: what is measured.
        loaded: the model, as it searches.
        usage: with which settings; its prompts count for reranking only.
        references: name -> evaluation to compare with, where it measured the same tasks.
        settings: of the evaluation.

    Returns:
        Flat figures, such as ``sts_spearman``: means over the sources of a task type.

    Raises:
        StepFailed: an embedding is not finite.
    """
    encoders = _ModelEncoders(loaded, usage)
    measured = [(task, found) for task in tasks if (found := outputs_of(task, encoders, settings)) is not None]
    if not measured:
        return {}
    table = pl.concat([_table(task, found) for task, found in measured])
    table.write_parquet(folder / artifact.TASK_OUTPUTS)
    entries = [_entry(task, found, references, settings) for task, found in measured]
    _correct(entries)
    text = json.dumps({"tasks": entries}, indent=2, ensure_ascii=False)
    (folder / artifact.TASKS).write_text(text + "\n", encoding="utf-8")
    flat: dict[str, list[float]] = {}
    for entry in entries:
        for metric, value in entry["metrics"].items():
            flat.setdefault(f"{entry['task_type']}_{metric}", []).append(value)
    return {name: float(np.mean(values)) for name, values in flat.items()}


class _ModelEncoders(Encoders):
    """A model as it is used for each kind of text of a task.

    Args:
        loaded: as the search for passages has it.
        usage: with which settings it is used.
    """

    def __init__(self, loaded: LazyEncoder, usage: Usage) -> None:
        self.loaded, self.usage = loaded, usage

    @cached_property
    def _without_prompt(self) -> LazyEncoder:
        if not self.loaded.config.passage_prompt:
            return self.loaded
        settings = self.loaded.settings.model_copy(update={"passage_instruction_for_retrieval": ""})
        return LazyEncoder.open(self.loaded.address, settings)

    def plain(self, texts: list[str]) -> np.ndarray:
        return _embedded(self._without_prompt, texts)

    def passages(self, texts: list[str]) -> np.ndarray:
        return _embedded(self.loaded, texts)

    def queries(self, table: pl.DataFrame) -> np.ndarray:
        sources, instructions = (table[name].fill_null("").to_list() for name in ("source", "instruction"))
        encoder, prompts = self.usage.load(self.loaded.address, PromptedQueries(sources, instructions))
        vectors = embed_texts(encoder, table["text"].to_list(), "query", prompts)
        return checked_finite(vectors, "query", table["query_id"].to_list())


def _embedded(encoder: LazyEncoder, texts: list[str]) -> np.ndarray:
    vectors = embed_texts(encoder, texts, "passage")
    return checked_finite(vectors, "text", texts)


def _table(task: TaskSet, found: Outputs) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "task_type": [task.task_type.value] * len(found.truth),
            "source": [task.source] * len(found.truth),
            "text_id": task.items["text_id"],
            "group": task.items["group"],
            "truth": found.truth,
            "values": found.values.tolist(),
        },
        schema=TASK_OUTPUTS,
    )


def _entry(
    task: TaskSet, found: Outputs, references: Mapping[str, EvaluationArtifact], settings: EvaluationSettings
) -> dict[str, Any]:
    """A task as tasks.json has it."""
    groups, names = task.items["group"].to_list(), METRICS[task.task_type]
    figures = partial(task_metrics, task.task_type, found)
    against: dict[str, dict[str, Any]] = {}
    for name, reference in references.items():
        if (others := _reference_outputs(task, reference)) is not None and others.values.shape == found.values.shape:
            differences = paired_bootstrap(
                partial(task_metrics, task.task_type, others),
                figures,
                groups,
                resamples=settings.resamples,
                confidence_level=settings.confidence_level,
                seed=settings.seed,
            )
            against[name] = {metric: asdict(one) for metric, one in zip(names, differences, strict=True)}
    return {
        "task_type": task.task_type.value,
        "name": task.source or task.task_type.value,
        "texts": len(groups),
        "groups": len(set(groups)),
        "metrics": dict(zip(names, map(float, figures()), strict=True)),
        "against": against,
    }


def _reference_outputs(task: TaskSet, reference: EvaluationArtifact) -> Outputs | None:
    """What a reference made of the same items; None where it did not measure all of them."""
    if reference.tasks is None:
        return None
    kind, source = pl.col("task_type") == task.task_type.value, pl.col("source") == task.source
    table = task.items.select("text_id").join(
        reference.tasks.filter(kind & source), on="text_id", how="inner", maintain_order="left"
    )
    if table.height < task.items.height:
        return None
    return Outputs(table["truth"].to_numpy(), np.array(table["values"].to_list()))


def _correct(entries: Sequence[dict[str, Any]]) -> None:
    """Add ``p_holm``: p corrected over all figures of tasks against a reference."""
    for name in {name for entry in entries for name in entry["against"]}:
        family = [figure for entry in entries for figure in entry["against"].get(name, {}).values()]
        for figure, p in zip(family, holm([figure["p_value"] for figure in family]), strict=True):
            figure["p_holm"] = p
