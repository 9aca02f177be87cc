"""Settings of the evaluation: what is measured, and how two models are compared."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationInfo, field_validator

from sharpen.errors import InputError
from sharpen.evaluation.analysis.names import GENERAL, check_slices
from sharpen.evaluation.systems.names import parse_references, parse_systems
from sharpen.index.settings import Bm25Language
from sharpen.index.sizes import parse_variants
from sharpen.settings import RelevanceLevel, SettingsModel, split_list

MEASURES = ("ndcg", "recall", "mrr", "map", "precision", "hit_rate")
"""The measures that are taken at every cutoff, in the order in which they are shown."""

SettingsOf = Literal["model", "better"]

References = Annotated[tuple[str, ...], BeforeValidator(split_list)]

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
        return split_list(value)

    @field_validator("cutoffs")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(value)))


class TaskSettings(SettingsModel):
    """Measuring of classification and clustering; similarity and reranking need no setting."""

    task_experiments: int = Field(
        10,
        ge=1,
        le=100,
        description="Draws of training texts (classification) and seeds (clustering) that are averaged.",
    )
    samples_per_label: int = Field(
        8, ge=1, le=10_000, description="Training texts of a label in each experiment of classification, as in MTEB."
    )
    knn_neighbors: int = Field(5, ge=1, le=1000, description="Neighbours that vote in k-NN classification.")


class EvaluationSettings(MetricSettings, TaskSettings):
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

    # what else is measured on the same queries, to compare with
    systems: tuple[str, ...] = Field(
        (),
        max_length=20,
        description="Systems to compare with, comma-separated: bm25; fusion (reciprocal ranks of bm25 and the model); "
        "fusion-minmax (their scaled scores, weighted); any embedding model as address or name=address.",
    )
    bm25_language: Bm25Language = Field("english", description="Stemming and stop words of bm25; none: neither.")
    fusion_weight: float = Field(
        0.5, ge=0, le=1, description="Weight of the model in fusion-minmax; bm25 has the rest."
    )
    reranking_model: str | None = Field(
        None,
        min_length=1,
        description="Cross-encoder that reranks what was retrieved: the systems reranked, and with bm25 bm25-reranked. "
        "Folder, s3:// address or hub id.",
    )
    reranking_depth: int = Field(100, ge=1, le=1000, description="Hits of a query that the cross-encoder reranks.")
    reranking_max_len: int = Field(
        512, ge=8, le=32768, description="Longest query and passage together, in tokens of the cross-encoder."
    )

    # what else is looked at of the model
    slices: tuple[str, ...] = Field(
        (),
        max_length=20,
        description="Parts of the queries that are measured by themselves, comma-separated: source, language, "
        "seen_passage (whether a relevant passage is a positive in training), query_words and query_tokens (quarters "
        "by length), fields (all that the queries bring) or fields.NAME.",
    )
    slice_values: int = Field(
        20, ge=1, le=1000, description="Most values of a slice, the most frequent first; the others are one together."
    )
    slice_min_queries: int = Field(
        30, ge=1, le=1_000_000, description="Fewest queries of a slice; smaller ones are listed without figures."
    )
    guard_data: str = Field(
        "",
        description="General queries by which forgetting shows, measured of every model: an address as of data; "
        f"{GENERAL}: the small sample that comes with Sharpen; empty: none.",
    )
    variants: tuple[str, ...] = Field(
        (),
        max_length=20,
        description="Smaller vectors to measure, comma-separated: dim:N (the first N dimensions), fp16, int8, binary, "
        "or both, as dim:128+int8; with size, latency and cost of encoding.",
    )
    cost_per_hour: float | None = Field(
        None, ge=0, le=1e6, description="Price of an hour of this machine, for the cost of a million passages."
    )
    judge_pairs: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Unjudged passages of the top 10 of all systems that judge.csv lists, what decides most first; "
        "data.judgements reads the file back in.",
    )

    _fitting_variants_only: bool = PrivateAttr(False)

    @property
    def addresses(self) -> list[str]:
        """What is read besides the model and its data: models, and after ``data:`` the user's guard set."""
        models = [system.address for system in parse_systems(self.systems) if system.address]
        guard = [f"data:{self.guard_data}"] if self.guard_data not in ("", GENERAL) else []
        return [*models, *([self.reranking_model] if self.reranking_model else []), *guard]

    def of_references(self) -> EvaluationSettings:
        """The same protocol for what the model is compared with: no systems, slices or judging, variants that fit."""
        extras = ("systems", "reranking_model", "slices", "cost_per_hour", "judge_pairs")
        found = self.model_copy(update={name: type(self).model_fields[name].default for name in extras})
        found._fitting_variants_only = True
        return found

    def of_dimension(self, dimension: int) -> EvaluationSettings:
        """These settings for embeddings of a dimension.

        What the model is compared with may have fewer: its variants are those that it can have.

        Raises:
            InputError: a line for each variant that such embeddings cannot have.
        """
        faults = {}
        for variant in parse_variants(self.variants):
            if variant.dimension > dimension:
                faults[variant.name] = f"the model's embeddings have {dimension} dimensions"
            elif variant.precision == "binary" and (variant.dimension or dimension) % 8:
                faults[variant.name] = "bits fill bytes, so write a multiple of 8 dimensions"
        if faults and not self._fitting_variants_only:
            raise InputError([f"evaluation.variants: {name}: {fault}" for name, fault in faults.items()])
        return self.model_copy(update={"variants": tuple(name for name in self.variants if name not in faults)})

    @field_validator("systems", "slices", "variants", mode="before")
    @classmethod
    def _split_lists(cls, value: Any) -> Any:
        return split_list(value)

    @field_validator("systems")
    @classmethod
    def _systems(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_systems(value)
        return value

    @field_validator("slices")
    @classmethod
    def _slices(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_slices(value)
        return value

    @field_validator("variants")
    @classmethod
    def _variants(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_variants(value)
        return value

    @field_validator("headline_metrics", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return split_list(value)

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
    references: References = Field(
        (), description="Other finished evaluations to compare with, comma-separated: name=address, or addresses."
    )
    negatives: str = Field("", description="Finished negatives folder, for the mining figures in the report.")

    @field_validator("references")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_references(value, reserved=("base", "champion"))
        return value

    @property
    def against(self) -> dict[str, str]:
        """Name -> address of every finished evaluation that is named."""
        named = {"base": self.base, "champion": self.champion}
        return {name: address for name, address in named.items() if address} | parse_references(
            self.references, reserved=()
        )


class CompareAddresses(SettingsModel):
    """Which finished evaluations are compared."""

    candidate: str = Field(description="Finished evaluation of the model in question.")
    references: References = Field(
        min_length=1,
        description="Finished evaluations of the same queries, comma-separated: name=address, or addresses.",
    )
    output: str = Field("", description="JSON file for the comparison.")


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
