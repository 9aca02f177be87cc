"""Measure one model on a split: encode, search exactly, score, compare with finished evaluations, write the report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sharpen.data.generated import warning
from sharpen.embeddings import LazyEncoder
from sharpen.evaluation import artifact
from sharpen.evaluation.analysis.guard import write_guard
from sharpen.evaluation.analysis.judging import CANDIDATE, write_judging_list
from sharpen.evaluation.analysis.slices import measure_slices, with_tokens
from sharpen.evaluation.analysis.variants import measure_variants
from sharpen.evaluation.artifact import COUNTED, MARKED, SYNTHETIC, EvaluationArtifact, write_json, write_scores
from sharpen.evaluation.comparison import compare
from sharpen.evaluation.dev import DEV, joined, write_dev
from sharpen.evaluation.facts import software, unjudged_facts
from sharpen.evaluation.inputs import Inputs
from sharpen.evaluation.model_settings import Usage, better_usage, described, resolve_usage
from sharpen.evaluation.report import render_report
from sharpen.evaluation.report.provenance import Provenance, load_provenance
from sharpen.evaluation.retrieval import Embedded, Rankings, score, search
from sharpen.evaluation.settings import EvaluationSettings, SettingsOf
from sharpen.evaluation.split import EvaluationSplit
from sharpen.evaluation.systems.derived import derive_systems
from sharpen.evaluation.tasks.measure import measure_tasks
from sharpen.evaluation.vector_summary import write_vector_summaries
from sharpen.run_context import run_id
from sharpen.settings import EncoderSettings
from sharpen.store import storage

logger = logging.getLogger(__name__)


def measure_model(
    model: str,
    data: str,
    split: str,
    output: str,
    settings: EvaluationSettings,
    encoder: EncoderSettings,
    *,
    references: Mapping[str, str],
    context: Mapping[str, str] | None = None,
    settings_of: SettingsOf = "model",
    without: str = "",
) -> storage.Manifest:
    """Evaluate a model against finished evaluations.

    Args:
        model, data, split, output, settings, encoder, references: as for `evaluate`.
        context, settings_of, without: likewise.

    Returns:
        the marker of the written folder.

    Raises:
        InputError, StepFailed: as `evaluate`.
    """
    inputs = Inputs.read(data, split, settings, without)
    searched = joined(inputs.eval_set, inputs.dev_set)
    others = inputs.open_references(references)
    background = load_provenance(model, data, (context or {}).get("negatives", ""))
    marked: dict[str, Any] = {}
    # the output is opened before the work, so that an address that cannot be written to fails at once
    with storage.publish(output, producer="evaluation", run_id=run_id(), rows=inputs.rows, facts=marked) as folder:
        usage = _usage(model, inputs, encoder, settings_of)
        loaded, instructions = usage.load(model, searched)
        settings = settings.of_dimension(loaded.dimension)
        inputs = replace(inputs, settings=settings)
        rankings, embedded, timings = search(loaded, searched, settings, instructions)
        values = score(inputs.eval_set, rankings, settings)
        facts = {"model": model, "model_hash": loaded.weights_hash, "device": str(loaded.device), **inputs.protocol}
        facts |= {"encoding": described(loaded, usage, searched, instructions, embedded.rows), **timings, **software()}
        facts |= unjudged_facts(inputs.eval_set, rankings)
        if synthetic := warning(split, facts.get("generated_queries", 0), facts["queries"]):
            facts[SYNTHETIC] = synthetic
        if inputs.guard:
            facts["guard"] = inputs.guard.facts
        on_tasks = measure_tasks(folder, inputs.tasks, loaded, usage, others, settings)
        write_scores(folder, inputs.dataset, inputs.eval_set, rankings, values, facts, on_tasks)
        marked |= {key: facts[key] for key in (*MARKED, *COUNTED, SYNTHETIC) if key in facts}
        marked |= {name: float(values[name].mean()) for name in settings.headline_metrics} | on_tasks
        dev_values = score(inputs.dev_set, rankings, settings) if inputs.dev_set else {}
        on_dev = write_dev(folder, inputs.dev_set, dev_values, others, settings)
        marked["dev"] = {name: on_dev["metrics"][name] for name in settings.headline_metrics if on_dev["metrics"]}
        if inputs.guard:
            write_guard(folder, inputs.guard, _guard_values(model, usage, loaded, inputs), others, settings)
        candidate = EvaluationArtifact.load(folder, output)
        others |= derive_systems(candidate, rankings, others, inputs, encoder)
        measured = Measured(loaded, instructions, embedded, rankings, values)
        _write_analyses(folder, candidate, others, inputs, measured)
        _write_comparison(folder, candidate, others, inputs, loaded.settings, background, on_dev)
    return storage.read_manifest(output)


@dataclass(frozen=True)
class Measured:
    """A model that was measured.

    Attributes:
        encoder: the model.
        instructions: of the queries, those of dev last; None: the model's own prompt for all.
        embedded: queries, likewise, and passages.
        rankings: what was retrieved.
        values: metric -> (queries,).
    """

    encoder: LazyEncoder
    instructions: list[str] | None
    embedded: Embedded
    rankings: Rankings
    values: dict[str, np.ndarray]


def _write_analyses(
    folder: Path,
    candidate: EvaluationArtifact,
    references: Mapping[str, EvaluationArtifact],
    inputs: Inputs,
    measured: Measured,
) -> None:
    """map.json and separation.json; slices.json, variants.json with its table and judge.csv, where settings want it."""
    eval_set, settings = inputs.eval_set, inputs.settings
    count = len(eval_set.query_ids)

    def tokens() -> list[int]:
        given = measured.instructions[:count] if measured.instructions else None
        return [len(ids) for ids in measured.encoder.load().tokenize(eval_set.query_texts, "query", given)]

    if inputs.slicings:
        slicings = with_tokens(inputs.slicings, tokens)
        found = measure_slices(candidate, references, slicings, eval_set.query_ids, settings)
        write_json(folder / artifact.SLICES, found)
    embedded = replace(measured.embedded, queries=measured.embedded.queries[:count])
    write_vector_summaries(folder, embedded, eval_set, measured.rankings, settings.relevance_level)
    if settings.variants:
        found, per_query = measure_variants(
            *(measured.encoder, embedded, eval_set, measured.values, settings), references=references
        )
        write_json(folder / artifact.VARIANTS, found)
        per_query.write_parquet(folder / artifact.VARIANTS_PER_QUERY)
    if settings.judge_pairs:
        systems: dict[str, Rankings] = {CANDIDATE: measured.rankings}
        systems |= {n: one.rankings(eval_set.query_ids, eval_set.passage_ids) for n, one in references.items()}
        write_judging_list(folder / artifact.JUDGE, eval_set, systems, settings.judge_pairs)


def _guard_values(model: str, usage: Usage, encoder: LazyEncoder, inputs: Inputs) -> dict[str, np.ndarray]:
    """Metric -> (queries,) of the guard set, used as on the split that is measured."""
    assert inputs.guard is not None
    loaded, instructions = usage.load(model, inputs.guard.split)
    # a model in memory is not loaded again
    loaded = encoder if loaded.settings == encoder.settings else loaded
    rankings, *_ = search(loaded, inputs.guard.split, inputs.settings, instructions)
    return score(inputs.guard.split, rankings, inputs.settings)


def _write_comparison(
    folder: Path,
    candidate: EvaluationArtifact,
    references: Mapping[str, EvaluationArtifact],
    inputs: Inputs,
    encoder: EncoderSettings,
    background: Provenance,
    dev: Mapping[str, Any],
) -> None:
    """comparison.json, where there is something to compare with, and the report, whose arguments these are."""
    comparison = compare(candidate, references, inputs.settings) if references else {}
    if comparison:
        write_json(folder / artifact.COMPARISON, comparison)
    shown_dev = None if inputs.split == DEV else dev
    page = render_report(
        candidate, references, comparison, inputs.eval_set, inputs.settings, encoder, background, shown_dev
    )
    (folder / artifact.REPORT).write_text(page, encoding="utf-8")


def _usage(model: str, inputs: Inputs, encoder: EncoderSettings, settings_of: SettingsOf) -> Usage:
    """How the model is used: as `resolve_usage` says, or by `better_usage` on dev, where the data set has it."""

    def figure(encoder: LazyEncoder, instructions: list[str] | None, searched: EvaluationSplit) -> float:
        rankings, *_ = search(encoder, searched, inputs.settings, instructions)
        return float(score(searched, rankings, inputs.settings)[inputs.settings.primary_metric].mean())

    if settings_of == "better":
        usage = better_usage(model, encoder, inputs.eval_set, inputs.dev_set, figure, inputs.settings.primary_metric)
    else:
        usage = resolve_usage(model, encoder)
    logger.info(f"settings of the model: {usage.reason}")
    return usage
