"""A finished evaluation, as it lies in its folder and as the comparison and the report read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from sharpen.data.dataset import with_groups
from sharpen.data.trec import read_run
from sharpen.errors import InputError
from sharpen.metrics import ranked
from sharpen.store import storage

METRICS, FACTS, PER_QUERY, RUN = "metrics.json", "facts.json", "per_query.parquet", "run.trec"
COMPARISON, REPORT = "comparison.json", "report.html"
DEV, DEV_PER_QUERY = "dev.json", "dev_per_query.parquet"

PROTOCOL = {
    "data_fingerprint": "data",
    "split": "split",
    "cutoffs": "cutoffs",
    "relevance_level": "relevance_level",
    "ignore_identical_ids": "ignore_identical_ids",
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
    """

    address: str
    facts: dict[str, Any]
    metrics: dict[str, float]
    per_query: pl.DataFrame
    run_file: Path
    dev: pl.DataFrame | None = None

    @classmethod
    def open(cls, address: str) -> EvaluationArtifact:
        """Read a finished evaluation. Raises InputError where there is none."""
        return cls.load(storage.open_artifact(address), address)

    @classmethod
    def load(cls, folder: Path, address: str) -> EvaluationArtifact:
        """Read the files of an evaluation from a local folder."""
        if missing := [name for name in (METRICS, FACTS, PER_QUERY, RUN) if not (folder / name).is_file()]:
            raise InputError(f"{address}: not an evaluation: {', '.join(missing)} is missing; name the step's output")
        dev = folder / DEV_PER_QUERY
        return cls(
            address=address,
            facts=json.loads((folder / FACTS).read_text()),
            metrics=json.loads((folder / METRICS).read_text()),
            per_query=with_groups(pl.read_parquet(folder / PER_QUERY, glob=False)).sort("query_id"),
            run_file=folder / RUN,
            dev=with_groups(pl.read_parquet(dev, glob=False)).sort("query_id") if dev.is_file() else None,
        )

    def of_queries(self, query_ids: Sequence[str]) -> EvaluationArtifact:
        """The same evaluation of some of its queries only; itself where these are all."""
        table = self.per_query.filter(pl.col("query_id").is_in(list(query_ids)))
        if table.height == self.per_query.height:
            return self
        metrics = {name: float(table[name].mean()) for name in self.metrics}  # type: ignore[arg-type]
        return replace(self, metrics=metrics, per_query=table)

    @cached_property
    def hits(self) -> dict[str, list[tuple[str, float]]]:
        """Query id -> (passage id, score), best first; ids as `trec.field` writes them."""
        run = read_run(self.run_file)
        return {query_id: [(p, scores[p]) for p in ranked(scores)] for query_id, scores in run.items()}


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
