"""A finished evaluation, as it lies in its folder and as the comparison and the report read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sharpen.data import query_keys
from sharpen.data.dataset import DataSet, with_groups
from sharpen.data.trec import field, read_run, write_run
from sharpen.errors import InputError
from sharpen.evaluation.split import EvaluationSplit
from sharpen.metrics import means, ranked
from sharpen.store import storage

METRICS, FACTS, PER_QUERY, RUN = "metrics.json", "facts.json", "per_query.parquet", "run.trec"
COMPARISON, REPORT = "comparison.json", "report.html"
DEV, DEV_PER_QUERY = "dev.json", "dev_per_query.parquet"
GUARD, GUARD_PER_QUERY = "guard.json", "guard_per_query.parquet"
SLICES, JUDGE = "slices.json", "judge.csv"
VARIANTS, VARIANTS_PER_QUERY = "variants.json", "variants_per_query.parquet"
TASKS, TASK_OUTPUTS = "tasks.json", "task_outputs.parquet"

# What the marker says too: the gate reads no more than that.
MARKED = ("model", "model_hash", "data_fingerprint", "split", "relevance_level", "ignore_identical_ids", "encoding")
COUNTED = ("groups", "queries_left_out")
SYNTHETIC = "synthetic_evaluation"
"""What must be said of a split with queries that a language model wrote; only there."""

PROTOCOL = {
    "data_fingerprint": "data",
    "split": "split",
    "cutoffs": "cutoffs",
    "relevance_level": "relevance_level",
    "ignore_identical_ids": "ignore_identical_ids",
    "tasks": "settings of tasks",
}
"""Facts that two evaluations must share to be compared, and what they are called towards the user."""


@dataclass(frozen=True)
class EvaluationArtifact:
    """One evaluation.

    Attributes:
        address: where it is, or will be.
        facts: the protocol, the model, the data and the versions (facts.json).
        metrics: metric name -> mean over the queries (metrics.json).
        per_query: columns query_id, sorted, group, and one column a metric (per_query.parquet).
        run_file: local path of run.trec.
        dev: as per_query, of the dev split; None where it was not measured.
        guard: as per_query, of the guard set that ``facts["guard"]`` names; None where there was none.
        variants: as per_query, of the vectors in each size that was measured, named in a column variant; None for none.
        tasks: what the model made of the texts of other tasks than retrieval (`tasks.measure.TASK_OUTPUTS`), or None.
    """

    address: str
    facts: dict[str, Any]
    metrics: dict[str, float]
    per_query: pl.DataFrame
    run_file: Path
    dev: pl.DataFrame | None = None
    guard: pl.DataFrame | None = None
    variants: pl.DataFrame | None = None
    tasks: pl.DataFrame | None = None

    @classmethod
    def open(cls, address: str) -> EvaluationArtifact:
        """Read a finished evaluation. Raises InputError where there is none."""
        return cls.load(storage.open_artifact(address), address)

    @classmethod
    def load(cls, folder: Path, address: str) -> EvaluationArtifact:
        """Read the files of an evaluation from a local folder."""
        if missing := [name for name in (METRICS, FACTS, PER_QUERY, RUN) if not (folder / name).is_file()]:
            raise InputError(f"{address}: not an evaluation: {', '.join(missing)} is missing; name the step's output")
        return cls(
            address=address,
            facts=json.loads((folder / FACTS).read_text()),
            metrics=json.loads((folder / METRICS).read_text()),
            per_query=_read_table(folder / PER_QUERY),
            run_file=folder / RUN,
            dev=_read_table(folder / DEV_PER_QUERY) if (folder / DEV_PER_QUERY).is_file() else None,
            guard=_read_table(folder / GUARD_PER_QUERY) if (folder / GUARD_PER_QUERY).is_file() else None,
            variants=_read_table(folder / VARIANTS_PER_QUERY) if (folder / VARIANTS_PER_QUERY).is_file() else None,
            tasks=pl.read_parquet(folder / TASK_OUTPUTS, glob=False) if (folder / TASK_OUTPUTS).is_file() else None,
        )

    def of_queries(self, query_ids: Sequence[str]) -> EvaluationArtifact:
        """The same evaluation of some of its queries only; itself where these are all."""
        table = self.per_query.filter(pl.col("query_id").is_in(list(query_ids)))
        if table.height == self.per_query.height:
            return self
        means = {name: float(table[name].mean()) for name in self.metrics if name in table.columns}  # type: ignore[arg-type]
        return replace(self, metrics={**self.metrics, **means}, per_query=table)

    def at(self, variant: str) -> pl.DataFrame | None:
        """As per_query, of the vectors in a size, which is named as in the settings; None: not measured in it."""
        if self.variants is None:
            return None
        rows = self.variants.filter(pl.col("variant") == variant).drop("variant")
        return rows.join(self.per_query, on="query_id", how="semi").sort("query_id") if rows.height else None

    def rankings(self, query_ids: Sequence[str], passage_ids: Sequence[str]) -> dict[str, list[tuple[str, float]]]:
        """The hits of queries with the ids as they are, whose white space a run file percent-codes."""
        passages = {field(passage_id): passage_id for passage_id in passage_ids}
        return {
            query_id: [(passages[passage_id], score) for passage_id, score in self.hits.get(field(query_id), [])]
            for query_id in query_ids
        }

    @cached_property
    def hits(self) -> dict[str, list[tuple[str, float]]]:
        """Query id -> (passage id, score), best first; ids as `trec.field` writes them."""
        run = read_run(self.run_file)
        return {query_id: [(p, scores[p]) for p in ranked(scores)] for query_id, scores in run.items()}


def _read_table(path: Path) -> pl.DataFrame:
    return with_groups(pl.read_parquet(path, glob=False)).sort("query_id")


def write_scores(
    folder: Path,
    dataset: DataSet,
    eval_set: EvaluationSplit,
    rankings: Mapping[str, list[tuple[str, float]]],
    values: Mapping[str, np.ndarray],
    facts: Mapping[str, Any],
    on_tasks: Mapping[str, float] | None = None,
) -> None:
    """Write the files with figures and rankings, and the keys of trained and measured queries.

    Args:
        folder: of the evaluation.
        dataset: the data.
        eval_set: what was measured of them.
        rankings: query id -> (passage id, score), best first.
        values: metric -> (queries,).
        facts: facts.json.
        on_tasks: figures of other task types than retrieval.
    """
    write_per_query(folder / PER_QUERY, eval_set, values)
    write_run(folder / RUN, ((name, rankings[name]) for name in eval_set.query_ids), tag="sharpen")
    write_json(folder / FACTS, facts)
    write_json(folder / METRICS, {**means(values), **(on_tasks or {})})
    trained = dataset.queries_of("train")
    keys = query_keys.with_ids(trained["text_key"], trained["query_id"])
    (folder / query_keys.TRAINED).write_bytes(query_keys.as_bytes(keys))
    (folder / query_keys.MEASURED).write_bytes(query_keys.as_bytes(eval_set.query_keys))


def write_per_query(path: Path, eval_set: EvaluationSplit, values: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """The table of per-query values of `eval_set`, sorted by query and written to `path`."""
    table = per_query_table(eval_set, values)
    table.write_parquet(path)
    return table


def per_query_table(eval_set: EvaluationSplit, values: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """query_id, sorted, group, and a column for each metric of `values`, which are in the order of `eval_set`."""
    return pl.DataFrame({"query_id": eval_set.query_ids, "group": eval_set.groups, **values}).sort("query_id")


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write a value as JSON.

    Args:
        path: of the file.
        value: anything that JSON can hold.
        indent: spaces of a level; None: all in one line.
    """
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


def check_comparable(name: str, reference: EvaluationArtifact, facts: Mapping[str, Any]) -> None:
    """Raise InputError, one line per difference, unless `reference`, called `name`, was measured as `facts` say."""
    faults = [
        f"{name}: {reference.address} was evaluated with another {called} "
        f"({_short(reference.facts.get(key))}, here {_short(facts[key])}); evaluate it again as this model is"
        for key, called in PROTOCOL.items()
        if reference.facts.get(key) != facts[key]
    ]
    if faults:
        raise InputError(faults)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:12] + "…"
