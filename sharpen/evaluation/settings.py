"""Settings of the evaluation: what is measured, and how two models are compared."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from sharpen.settings import RelevanceLevel, SettingsModel

MEASURES = ("ndcg", "recall", "mrr", "map", "precision", "hit_rate")
"""The measures that are taken at every cutoff, in the order in which they are shown."""

SettingsOf = Literal["model", "better"]

Cutoff = Annotated[int, Field(ge=1, le=10_000)]


def metric_names(cutoffs: tuple[int, ...]) -> list[str]:
    """Keys of the metrics at these cutoffs, for example ``ndcg_at_10``: measure by measure, cutoffs ascending."""
    return [f"{measure}_at_{k}" for measure in MEASURES for k in sorted(cutoffs)]


class MetricSettings(SettingsModel):
    """What is measured in a ranking."""

    cutoffs: tuple[Cutoff, ...] = Field(
        (1, 3, 5, 10, 100), min_length=1, max_length=20, description="Ranks at which every metric is taken (its k)."
    )
    relevance_level: RelevanceLevel = 1

    @field_validator("cutoffs", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return _as_list(value)

    @field_validator("cutoffs")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(value)))


class EvaluationSettings(MetricSettings):
    """How a model is evaluated on a split and compared with others on the same queries."""

    primary_metric: str = Field(
        "ndcg_at_10", description="The metric of the verdict, and the one by which queries are called won or lost."
    )
    headline_metrics: tuple[str, ...] = Field(
        ("ndcg_at_10", "recall_at_10", "recall_at_100", "mrr_at_10", "map_at_100"),
        min_length=1,
        max_length=20,
        description="Metrics that the report shows first; Holm's correction is taken over them.",
    )
    ignore_identical_ids: bool = Field(
        False, description="Leave out the passage with the query's own id before the top k (ArguAna, Quora)."
    )
    resamples: int = Field(
        10_000, ge=100, le=1_000_000, description="Bootstrap resamples, and sign flips of the randomisation test."
    )
    confidence_level: float = Field(0.95, ge=0.5, lt=1, description="Level of the intervals.")
    seed: int = Field(42, ge=0, le=2**32 - 1, description="Seed of the resampling.")
    report_queries: int = Field(10, ge=0, le=100, description="Best and worst queries shown in the report, each.")

    @field_validator("headline_metrics", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return _as_list(value)

    @field_validator("primary_metric", "headline_metrics")
    @classmethod
    def _measured(cls, value: Any, info: ValidationInfo) -> Any:
        cutoffs = info.data.get("cutoffs")  # absent when cutoffs themselves are at fault
        for name in [value] if isinstance(value, str) else value:
            if cutoffs and name not in metric_names(cutoffs):
                measures = ", ".join(f"{measure}_at_k" for measure in MEASURES)
                known = ", ".join(map(str, cutoffs))
                raise ValueError(f"{name} is not measured; it can be {measures} with k one of {known} (see cutoffs)")
        return value


class EvaluationAddresses(SettingsModel):
    """What is evaluated, on what, and where the result goes."""

    model: str = Field(description="Model: a folder, an s3:// address or a hub id.")
    data: str = Field(description="Data set of ours, BEIR folder or FlagEmbedding JSONL; local or s3://.")
    output: str = Field(description="Folder or s3:// address of the result.")
    split: str = Field("test", min_length=1, description="Split whose queries are searched.")
    settings_of: SettingsOf = Field(
        "model",
        description="Whose encoder settings are used. model: those in the model's own folder, where none is set here. "
        "better, for a base model: of the folder's own and those of this command, which have the better primary_metric "
        "on dev.",
    )
    base: str = Field("", description="Finished evaluation of the base model, to compare with.")
    champion: str = Field("", description="Finished evaluation of the present champion, to compare with.")
    negatives: str = Field("", description="Finished negatives folder, for the mining figures in the report.")


class ScoreAddresses(SettingsModel):
    """The two files of a TREC evaluation."""

    qrels: str = Field(description="Judgements: TREC qrels, or the TSV of a BEIR folder.")
    run: str = Field(description="Rankings: a TREC run file. Its rank column is ignored; scores decide.")
    output: str = Field("", description="JSON file for the metrics, their per-query values and the protocol.")


class ScoreSettings(MetricSettings):
    """How any TREC run is scored. The defaults give trec_eval 9's figures, except for missing queries."""

    missing_queries: Literal["zero", "skip"] = Field(
        "zero", description="Judged queries that the run lacks: zero counts them (trec_eval -c), skip leaves them out."
    )
    score_precision: Literal["float32", "float64"] = Field(
        "float32", description="How scores are compared: trec_eval 9 keeps them as float32, trec_eval 10 as float64."
    )


def _as_list(value: Any) -> Any:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value
