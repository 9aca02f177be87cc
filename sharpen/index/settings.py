"""Settings of the index: what is stored for each passage, and how it is searched."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sharpen.settings import SettingsModel

Precision = Literal["fp32", "fp16", "int8", "binary"]

Bm25Language = Literal[
    "none",
    "danish",
    "dutch",
    "english",
    "french",
    "german",
    "italian",
    "norwegian",
    "portuguese",
    "russian",
    "spanish",
    "swedish",
    "turkish",
]


class IndexAddresses(SettingsModel):
    """What is read and where the index goes."""

    model: str = Field(min_length=1, description="Model that encodes the passages: a folder, s3:// address or hub id.")
    data: str = Field(
        min_length=1,
        description="Passages: a data set of ours, a BEIR folder (corpus.jsonl alone will do) or FlagEmbedding JSONL; "
        "local or s3://.",
    )
    output: str = Field(min_length=1, description="Folder to write the index to; local or s3://.")


class IndexSettings(SettingsModel):
    """How passages are stored and searched."""

    vector_precision: Precision = Field(
        "fp32",
        description="Numbers that a vector is stored as: fp32; fp16, half the size; int8, a quarter; binary, one bit a "
        "dimension, which loses much unless the model was trained for it. The report shows what each would lose.",
    )
    truncate_dim: int | None = Field(
        None,
        ge=1,
        le=65_536,
        description="Keep only the first this many dimensions, for models trained with Matryoshka dimensions; vectors "
        "get length 1 again if they had it. Unset: all.",
    )
    index: str = Field(
        "auto",
        min_length=1,
        max_length=200,
        description="auto: exact up to exact_up_to passages, above it an approximate FAISS index by size; exact; or a "
        "FAISS factory string such as HNSW32 or IVF4096,PQ48. Binary vectors are always searched exactly.",
    )
    exact_up_to: int = Field(
        1_000_000, ge=0, le=2**32 - 1, description="Passages up to which index=auto compares a query with all of them."
    )
    store_texts: bool = Field(
        True, description="Write title and text with each vector; `sharpen search` shows them. false: ids only."
    )
    quality_queries: int = Field(
        300, ge=0, le=100_000, description="Queries by which recall of each precision is measured; 0: not measured."
    )
    seed: int = Field(
        42, ge=0, le=2**31 - 1, description="Seed of the sampled queries and of the training of an approximate index."
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.vector_precision == "binary" and self.index not in ("auto", "exact"):
            raise ValueError(f"index {self.index!r} cannot be made of binary vectors; use auto, or another precision")
        if self.vector_precision == "binary" and self.truncate_dim is not None and self.truncate_dim % 8:
            raise ValueError(f"truncate_dim {self.truncate_dim} does not fill whole bytes of bits; use a multiple of 8")
        return self


class StepSettings(IndexSettings):
    """`IndexSettings`, and whether the pipeline makes an index at all."""

    enabled: bool = Field(
        True,
        description="Index the corpus with the model that was just promoted, so that `sharpen search` can answer. The "
        "evaluation has encoded the same passages with the same model, so this costs little where vectors are cached.",
    )


class ServingSettings(SettingsModel):
    """The size in which embeddings will be served, from which settings of the steps follow."""

    size: str = Field(
        "",
        max_length=40,
        description="Size of stored vectors, set once: dim:N (the first N dimensions), fp16, int8, binary, or both as "
        "dim:128+int8. Training learns for it, merging and evaluation measure it, the gate judges it, the index is "
        "made so: training.served_size, merging.served_size, evaluation.variants, promotion.variant, "
        "indexing.truncate_dim and vector_precision. Empty: whole vectors.",
    )


class SearchAddresses(SettingsModel):
    """What is searched."""

    index: str = Field(min_length=1, description="Folder that `python -m components.indexing` wrote; local or s3://.")
    text: str = Field("", description="What to look for. Empty: one query a line is read from standard input.")
    model: str = Field(
        "", description="Where the index's model is now. Empty: where it was when the index was written."
    )


class SearchSettings(SettingsModel):
    """How answers are shown."""

    top: int = Field(10, ge=1, le=1000, description="Passages to show.")
    prompt: str = Field(
        "",
        description="Name of the model's prompt that is put before the query, for a model with several. Empty: its "
        "default.",
    )
    json_output: bool = Field(False, description="Print one JSON object a query instead of a table.")
