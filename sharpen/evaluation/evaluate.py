"""Measure a model on a split: encode, search exactly, score, compare with other models, and write the report."""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sharpen.data import query_keys
from sharpen.data.dataset import DataSet
from sharpen.data.readers import read_dataset
from sharpen.data.trec import write_run
from sharpen.embeddings import LazyEncoder, embed_texts, not_finite
from sharpen.errors import StepFailed
from sharpen.evaluation import artifact
from sharpen.evaluation.artifact import EvaluationArtifact, check_comparable
from sharpen.evaluation.comparison import compare
from sharpen.evaluation.dev import DEV, joined, select_dev, write_dev
from sharpen.evaluation.model_settings import Usage, better_usage, described, resolve_usage
from sharpen.evaluation.report import render_report
from sharpen.evaluation.report.provenance import Provenance, load_provenance
from sharpen.evaluation.settings import EvaluationSettings, SettingsOf, metric_names
from sharpen.evaluation.split import EvaluationSplit, select_split
from sharpen.index.exact import top_k
from sharpen.index.exact_device import gpu_of
from sharpen.metrics import TIE_RULE, means, measure
from sharpen.run_context import run_id
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.version import code_version

logger = logging.getLogger(__name__)

# What the marker says too: the gate reads no more than that.
MARKED = ("model", "model_hash", "data_fingerprint", "split", "relevance_level", "ignore_identical_ids", "encoding")
COUNTED = ("groups", "queries_left_out")

SHOWN_DEPTH = 100
"""Every query keeps at least this many hits, so that runs can be scored again at other cutoffs."""


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

    Args:
        model: address of the model: a folder, ``s3://``, or a hub id.
        data: data set of ours, BEIR folder or FlagEmbedding JSONL.
        split: the queries to search; the whole corpus is searched.
        output: address of the folder to write.
        settings: what is measured and how models are compared.
        encoder: how embeddings are computed; what is set in it of what they are stands in for what the model says.
        references: name (``base``, ``champion``) -> address of a finished evaluation of the same queries.
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
    dataset = read_dataset(data, split)
    eval_set = select_split(dataset, split, data, settings.relevance_level, without=query_keys.read(without))
    dev_set = select_dev(dataset, split, data, settings)
    searched = joined(eval_set, dev_set)
    protocol = protocol_facts(data, dataset.fingerprint(), split, eval_set, settings)
    others = _open_references(references or {}, protocol, eval_set)
    background = load_provenance(model, data, (context or {}).get("negatives", ""))
    rows = {"queries": len(eval_set.query_ids), "passages": len(eval_set.passage_ids)}
    marked: dict[str, Any] = {}
    # the output is opened before the work, so that an address that cannot be written to fails at once
    with storage.publish(output, producer="evaluation", run_id=run_id(), rows=rows, facts=marked) as folder:
        usage = _usage(model, dataset, data, split, eval_set, settings, encoder, settings_of)
        loaded, instructions = usage.load(model, searched)
        rankings, timings = search(loaded, searched, settings, instructions)
        values = score(eval_set, rankings, settings)
        facts = {"model": model, "model_hash": loaded.weights_hash, "device": str(loaded.device), **protocol}
        facts |= {"encoding": described(loaded, usage, searched, instructions), **timings, **software()}
        _write_scores(folder, dataset, eval_set, rankings, values, facts)
        marked |= {key: facts[key] for key in (*MARKED, *COUNTED)}
        marked |= {name: float(values[name].mean()) for name in settings.headline_metrics}
        on_dev = write_dev(folder, dev_set, score(dev_set, rankings, settings) if dev_set else {}, others, settings)
        marked["dev"] = {name: on_dev["metrics"][name] for name in settings.headline_metrics if on_dev["metrics"]}
        candidate = EvaluationArtifact.load(folder, output)
        _write_comparison(folder, candidate, others, eval_set, settings, loaded.settings, background, on_dev)
    return storage.read_manifest(output)


def _write_comparison(
    folder: Path,
    candidate: EvaluationArtifact,
    references: Mapping[str, EvaluationArtifact],
    eval_set: EvaluationSplit,
    settings: EvaluationSettings,
    encoder: EncoderSettings,
    background: Provenance,
    dev: Mapping[str, Any],
) -> None:
    """comparison.json, where there is something to compare with, and the report, whose arguments these are."""
    comparison = compare(candidate, references, settings) if references else {}
    if comparison:
        _write_json(folder / artifact.COMPARISON, comparison)
    shown_dev = None if candidate.facts["split"] == DEV else dev
    page = render_report(candidate, references, comparison, eval_set, settings, encoder, background, shown_dev)
    (folder / artifact.REPORT).write_text(page, encoding="utf-8")


def _open_references(
    references: Mapping[str, str], protocol: Mapping[str, Any], eval_set: EvaluationSplit
) -> dict[str, EvaluationArtifact]:
    """The evaluations to compare with, on the queries that are measured here. Raises InputError as `evaluate`."""
    opened = {name: EvaluationArtifact.open(address) for name, address in references.items() if address}
    for name, reference in opened.items():
        check_comparable(name, reference, protocol)
    return {name: reference.of_queries(eval_set.query_ids) for name, reference in opened.items()}


def _write_scores(
    folder: Path,
    dataset: DataSet,
    eval_set: EvaluationSplit,
    rankings: Mapping[str, list[tuple[str, float]]],
    values: Mapping[str, np.ndarray],
    facts: Mapping[str, Any],
) -> None:
    """The files with figures and rankings, and the keys of trained and measured queries."""
    scores = pl.DataFrame({"query_id": eval_set.query_ids, "group": eval_set.groups, **values})
    scores.write_parquet(folder / artifact.PER_QUERY)
    write_run(folder / artifact.RUN, ((name, rankings[name]) for name in eval_set.query_ids), tag="sharpen")
    _write_json(folder / artifact.FACTS, facts)
    _write_json(folder / artifact.METRICS, means(values))
    (folder / query_keys.TRAINED).write_bytes(query_keys.as_bytes(dataset.queries_of("train")["text_key"]))
    (folder / query_keys.MEASURED).write_bytes(query_keys.as_bytes(eval_set.query_keys))


def protocol_facts(
    data: str, fingerprint: str, split: str, eval_set: EvaluationSplit, settings: EvaluationSettings
) -> dict[str, Any]:
    """How the figures of `eval_set` come about, as it is recorded with them; arguments as for `evaluate`."""
    return {
        "data": data,
        "data_fingerprint": fingerprint,
        "split": split,
        "cutoffs": list(settings.cutoffs),
        "relevance_level": settings.relevance_level,
        "ignore_identical_ids": settings.ignore_identical_ids,
        "tie_rule": TIE_RULE,
        "missing_queries": "zero",
        **eval_set.facts,
    }


def search(
    encoder: LazyEncoder, eval_set: EvaluationSplit, settings: EvaluationSettings, instructions: Sequence[str] | None
) -> tuple[dict[str, list[tuple[str, float]]], dict[str, float]]:
    """Search the corpus with every query, each with its instruction if it has one.

    Args:
        encoder: the model.
        eval_set: queries and corpus.
        settings: cutoffs, and whether a query finds itself.
        instructions: one a query, or None for all.

    Returns:
        query id -> (passage id, score) best first, at most max(cutoffs, 100) of them; and seconds by phase.

    Raises:
        StepFailed: an embedding is not finite.
    """
    started = time.monotonic()
    queries = _finite(embed_texts(encoder, eval_set.query_texts, "query", instructions), "query", eval_set.query_ids)
    passages = _finite(embed_texts(encoder, eval_set.passage_texts, "passage"), "passage", eval_set.passage_ids)
    encoded = time.monotonic()
    depth = max(*settings.cutoffs, SHOWN_DEPTH)
    # so many hits more that depth are left when the query's own passages are taken out
    more = max(map(len, eval_set.left_out.values()), default=0) + settings.ignore_identical_ids
    scores, indices = top_k(queries, passages, depth + more, device=gpu_of(encoder.device))
    rankings = {}
    for query_id, query_scores, query_indices in zip(
        eval_set.query_ids, scores.tolist(), indices.tolist(), strict=True
    ):
        hits = [
            (eval_set.passage_ids[i], score) for i, score in zip(query_indices, query_scores, strict=True) if i >= 0
        ]
        out = eval_set.left_out.get(query_id, frozenset()) | ({query_id} if settings.ignore_identical_ids else set())
        rankings[query_id] = [hit for hit in hits if hit[0] not in out][:depth]
    searched = time.monotonic()
    seconds = {"encode_seconds": round(encoded - started, 3), "search_seconds": round(searched - encoded, 3)}
    return rankings, seconds


def score(
    eval_set: EvaluationSplit, rankings: Mapping[str, list[tuple[str, float]]], settings: EvaluationSettings
) -> dict[str, np.ndarray]:
    """Metric of the `settings` -> (n queries,), in the order of `eval_set`, of the `rankings` that `search` gives."""
    found = {query_id: [passage_id for passage_id, _ in hits] for query_id, hits in rankings.items()}
    names = metric_names(settings.cutoffs)
    return measure(eval_set.qrels, found, eval_set.query_ids, names, relevance_level=settings.relevance_level)


def _usage(
    model: str,
    dataset: DataSet,
    data: str,
    split: str,
    eval_set: EvaluationSplit,
    settings: EvaluationSettings,
    encoder: EncoderSettings,
    settings_of: SettingsOf,
) -> Usage:
    """How the model is used: as `resolve_usage` says, or by `better_usage` on dev, where the data set has it."""
    dev = None
    if split != "dev" and dataset.qrels_of("dev"):
        dev = select_split(dataset, "dev", data, settings.relevance_level)

    def figure(encoder: LazyEncoder, instructions: list[str] | None, searched: EvaluationSplit) -> float:
        rankings, _ = search(encoder, searched, settings, instructions)
        return float(score(searched, rankings, settings)[settings.primary_metric].mean())

    if settings_of == "better":
        usage = better_usage(model, encoder, eval_set, dev, figure, settings.primary_metric)
    else:
        usage = resolve_usage(model, encoder)
    logger.info(f"settings of the model: {usage.reason}")
    return usage


def software() -> dict[str, Any]:
    """Versions of what computes the figures, the run, and the time."""
    versions = {name: metadata.version(name) for name in ("torch", "transformers", "numpy", "polars")}
    return {
        "versions": {"python": platform.python_version(), **versions},
        "code_version": code_version(),
        "run_id": run_id(),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _finite(embeddings: np.ndarray, kind: str, ids: list[str]) -> np.ndarray:
    faulty = not_finite(embeddings)
    if len(faulty):
        raise StepFailed(
            f"the model's embedding of {kind} {ids[faulty[0]]} is not a number ({len(faulty)} of {len(ids)} such); "
            "its weights are damaged or its training diverged: try precision=fp32, then another checkpoint"
        )
    return embeddings


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
