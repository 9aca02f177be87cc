"""Settings of mining, named as in FlagEmbedding's `hn_mine` and sentence-transformers' `mine_hard_negatives`."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from sharpen.index.settings import Bm25Language
from sharpen.settings import RelevanceLevel, SettingsModel, split_list

MODEL, BM25, FILE = "model", "bm25", "file"
MOST_SOURCES = 8
_OF_RESCORING = ("rescoring_activation", "rescoring_max_score")


class MiningAddresses(SettingsModel):
    """What is read and where the negatives go."""

    data: str = Field(
        min_length=1, description="Data set: a folder of ours, a BEIR folder or FlagEmbedding JSONL; local or s3://."
    )
    model: str = Field(min_length=1, description="Model that scores the passages: a folder, s3:// address or hub id.")
    output: str = Field(min_length=1, description="Folder to write the negatives to; local or s3://.")


class MiningSettings(SettingsModel):
    """How hard negatives are found and chosen."""

    # where to look
    candidate_sources: list[str] = Field(
        ["model"],
        min_length=1,
        max_length=MOST_SOURCES,
        description="What ranks the passages, comma-separated: model (the mining model), bm25, model:<address> "
        "(another embedding model), file:<address> (TREC run, or JSONL or Parquet of query_id, passage_id[, score]). "
        "A passage has the best of its ranks.",
    )
    bm25_language: Bm25Language = Field("english", description="Stemming and stop words of bm25; none: neither.")
    range_for_sampling: str = Field(
        "0-210",
        description="Ranks to take negatives from, as start-end: the first `start` passages of the ranking are left "
        "out and so is everything after the first `end`. Ranks are those of the whole corpus, known positives counted.",
    )
    index: str = Field(
        "auto",
        min_length=1,
        max_length=200,
        description="auto: exact search up to exact_up_to passages, above that an approximate FAISS index; exact; "
        "or a FAISS factory string such as HNSW32 or IVF4096,PQ48. The report says what an approximate one finds.",
    )
    exact_up_to: int = Field(
        2_000_000,
        ge=0,
        le=2**32 - 1,
        description="Passages up to which index=auto is exact; 100,000 queries then take about 45 minutes of one core.",
    )
    negative_number: int = Field(15, ge=1, le=10_000, description="Negatives to mine for each query.")
    # On MedQuAD the highest ranks that the margin leaves train better than a random choice from rank 10 on, the
    # reference's default (tests/peers/RESULTS.md): what keeps false negatives out is the margin, not the distance.
    sampling: Literal["random", "top"] = Field(
        "top", description="random: drawn from what the filters leave of the range; top: its highest ranks."
    )
    random_share: float = Field(
        0.0, ge=0, le=1, description="Share of `negative_number` that is drawn from the whole corpus instead."
    )
    top_up: Literal["further_ranks_then_random", "further_ranks", "random", "off"] = Field(
        "further_ranks_then_random",
        description="Where the rest comes from when the range leaves too few; the filters hold there too.",
    )
    further_ranks: int = Field(
        200, ge=0, le=100_000, description="Ranks after the range that are searched for topping up."
    )

    # what may be a negative
    relevance_level: RelevanceLevel = 1
    relative_margin: float | None = Field(
        0.05,
        ge=0,
        le=1,
        description="A negative scores at most the lowest positive less this share of its size; unset: no such rule. "
        "With rescoring_model this and absolute_margin are about its probabilities.",
    )
    absolute_margin: float | None = Field(
        None, ge=0, le=1e6, description="A negative scores at least this much less than the lowest positive."
    )
    max_score: float | None = Field(None, ge=-1e6, le=1e6, description="A negative scores at most this.")
    min_score: float | None = Field(None, ge=-1e6, le=1e6, description="A negative scores at least this.")

    # a second opinion
    rescoring_model: str | None = Field(
        None,
        min_length=1,
        description="Cross-encoder by whose scores, instead of the mining model's, the margins are judged; they are "
        "kept as teacher scores. Folder, s3:// address or hub id; one output, or two, the second being relevance.",
    )
    rescoring_activation: Literal["sigmoid", "identity"] = Field(
        "sigmoid",
        description="How the cross-encoder's output becomes a probability; identity: it is one already. Of two outputs "
        "the softmax is taken.",
    )
    rescoring_max_score: float | None = Field(
        0.9,
        ge=0,
        le=1,
        description="A negative is relevant with at most this probability by the cross-encoder; unset: no such rule.",
    )
    rescoring_max_len: int = Field(
        512, ge=8, le=32768, description="Longest query and passage together, in tokens of the cross-encoder."
    )

    # a check of the labels
    consistency_top: int = Field(
        0, ge=0, le=100_000, description="A query is inconsistent if none of its positives is in the top this; 0: off."
    )
    on_inconsistent: Literal["report", "drop"] = Field(
        "report", description="report: count inconsistent queries; drop: leave them out of the training too."
    )

    seed: int = Field(42, ge=0, le=2**31 - 1, description="Seed of all draws; each query has draws of its own.")

    @field_validator("candidate_sources", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return split_list(value)

    @field_validator("candidate_sources")
    @classmethod
    def _sources(cls, value: list[str]) -> list[str]:
        sources = [source.strip() for source in value]
        for source in sources:
            kind, _, address = source.partition(":")
            if source not in (MODEL, BM25) and (kind not in (MODEL, FILE) or not address):
                raise ValueError(f"{source!r} is no source; known: model, bm25, model:<address>, file:<address>")
        if twice := next((source for source in sources if sources.count(source) > 1), None):
            raise ValueError(f"{twice} is named twice")
        return sources

    @field_validator("range_for_sampling")
    @classmethod
    def _range(cls, value: str) -> str:
        match = re.fullmatch(r"\s*(\d{1,7})\s*-\s*(\d{1,7})\s*", value)
        if not match:
            raise ValueError("must be two whole numbers joined by '-', for example 10-210")
        start, end = int(match[1]), int(match[2])
        if start >= end:
            raise ValueError(f"the start must be below the end, for example {end}-{start + 1}")
        if end > 100_000:
            raise ValueError("must end at rank 100000 at most")
        return f"{start}-{end}"

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.min_score is not None and self.max_score is not None and self.min_score > self.max_score:
            raise ValueError(
                f"min_score {self.min_score} is above max_score {self.max_score}: nothing can be a negative"
            )
        unused = [name for name in _OF_RESCORING if getattr(self, name) != type(self).model_fields[name].default]
        if unused and not self.rescoring_model:
            raise ValueError(f"{unused[0]} has no effect without rescoring_model")
        if self.on_inconsistent == "drop" and not self.consistency_top:
            raise ValueError("on_inconsistent: drop needs consistency_top, the rank down to which a positive may stand")
        return self

    @property
    def addresses(self) -> list[str]:
        """What is read besides data and mining model: models as they are, files with ``file:`` before them."""
        named = [source.removeprefix(f"{MODEL}:") for source in self.candidate_sources if source not in (MODEL, BM25)]
        return named + ([self.rescoring_model] if self.rescoring_model else [])

    @property
    def ranks(self) -> tuple[int, int]:
        """Start and end of the range: positions start, ..., end - 1 of the ranking, counted from 0."""
        start, end = self.range_for_sampling.split("-")
        return int(start), int(end)


class StepSettings(MiningSettings):
    """`MiningSettings`, and whether the pipeline mines at all."""

    enabled: bool = Field(
        True,
        description="Mine hard negatives. Off: the training has those that came with the data, and the other passages "
        "of its batches.",
    )
