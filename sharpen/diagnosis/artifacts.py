"""What a run left behind: the small files of its evaluation, its model, its negatives and its data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sharpen.data import query_keys
from sharpen.errors import InputError
from sharpen.store import storage

BASE, CHAMPION = "base", "champion"


@dataclass(frozen=True)
class RunArtifacts:
    """The artifacts of a run, as plain values; what is not there is empty.

    Attributes:
        evaluation: address of the evaluation.
        facts, metrics, comparison, dev, guard, slices, tasks: its files.
        base: facts.json of the base model's evaluation.
        training, merging: training.json and merging.json of the model.
        mining: report.json of its negatives.
        data: stats.json of its data.
        shared_queries, measured_queries: keys that the measured queries share with the training queries, and all.
        missing: what could not be read, a line each.
    """

    evaluation: str
    facts: dict[str, Any]
    metrics: dict[str, float]
    comparison: dict[str, Any] = field(default_factory=dict)
    dev: dict[str, Any] = field(default_factory=dict)
    guard: dict[str, Any] = field(default_factory=dict)
    slices: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    base: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    merging: dict[str, Any] = field(default_factory=dict)
    mining: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    shared_queries: int = 0
    measured_queries: int = 0
    missing: list[str] = field(default_factory=list)

    @property
    def metric(self) -> str:
        """The metric that decides."""
        return self.comparison.get("primary_metric", "ndcg_at_10")

    def against(self, name: str = BASE, metric: str = "") -> dict[str, float]:
        """A metric (default: the one that decides) against a reference; empty where it was not compared."""
        metrics = self.comparison.get("against", {}).get(name, {}).get("metrics", {})
        return metrics.get(metric or self.metric, {})

    @property
    def is_better(self) -> bool:
        """Whether the whole interval of the gain over the base model is above 0."""
        return self.against().get("ci_low", 0.0) > 0

    @property
    def is_worse(self) -> bool:
        """Whether the whole interval of the gain over the base model is below 0."""
        return self.against().get("ci_high", 0.0) < 0

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the training."""
        return self.training.get("settings", {})

    @property
    def encoder(self) -> dict[str, Any]:
        """Settings of the encoder, as the model was trained."""
        return self.training.get("encoder", {})

    @property
    def checks(self) -> dict[str, Any]:
        """What data preparation checked."""
        return self.data.get("checks", {})


def read_artifacts(evaluation: str) -> RunArtifacts:
    """The artifacts of the run that made an evaluation; those that are gone are named in `missing`.

    Args:
        evaluation: address of a finished evaluation.

    Raises:
        InputError: there is none.
    """
    if not storage.is_complete(evaluation):
        raise InputError(
            f"{evaluation}: no finished evaluation there; name a run, or the output of the evaluation step"
        )
    missing: list[str] = []
    facts = _read(evaluation, "facts.json", "evaluation", missing)
    if not facts or missing:
        raise InputError(f"{evaluation}: not an evaluation: facts.json is missing; name the evaluation step's output")
    comparison = _optional(evaluation, "comparison.json")
    reference = comparison.get("against", {}).get(BASE, {}).get("reference", "")
    training = _read(facts["model"], "training.json", "the model's training", missing)
    negatives, data = training.get("negatives") or "", training.get("data") or facts["data"]
    shared, measured = _shared_queries(evaluation)
    return RunArtifacts(
        evaluation,
        facts,
        _read(evaluation, "metrics.json", "metrics", missing),
        comparison,
        dev=_optional(evaluation, "dev.json"),
        guard=_optional(evaluation, "guard.json"),
        slices=_optional(evaluation, "slices.json").get("slices", []),
        tasks=_optional(evaluation, "tasks.json").get("tasks", []),
        base=_read(reference, "facts.json", "the base model's evaluation", missing),
        training=training,
        merging=_optional(facts["model"], "merging.json"),
        mining=_read(negatives, "report.json", "the mined negatives", missing) if negatives else {},
        data=_read(data, "stats.json", "the prepared data", missing),
        shared_queries=shared,
        measured_queries=measured,
        missing=missing,
    )


def _read(folder: str, file: str, what: str, missing: list[str]) -> dict[str, Any]:
    """A file of a folder; empty where it is not there, which `missing` says then."""
    found = _optional(folder, file) if folder else {}
    if not found:
        missing.append(f"{what}: {storage.join(folder, file) if folder else 'not compared with'}")
    return found


def _optional(folder: str, file: str) -> dict[str, Any]:
    try:
        return storage.read_json(storage.join(folder, file))
    except storage.NotFound:
        return {}


def _shared_queries(evaluation: str) -> tuple[int, int]:
    """How many keys of measured queries are keys of training queries too, and how many there are."""
    try:
        trained = query_keys.read(storage.join(evaluation, query_keys.TRAINED))
        measured = query_keys.read(storage.join(evaluation, query_keys.MEASURED))
    except storage.NotFound:
        return 0, 0
    return len({*measured}.intersection(trained)), len(measured)
