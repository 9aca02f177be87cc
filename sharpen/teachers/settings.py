"""Settings of the teachers' scores."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from sharpen.errors import InputError
from sharpen.language_model.settings import OF_ASKING, LanguageModelSettings
from sharpen.settings import RelevanceLevel, SettingsModel

KEY_VARIABLE = "SHARPEN_TEACHERS_API_KEY"
"""Where the judge's key is, and nowhere else: no setting, log or artifact holds it."""

_NEEDED = {
    "cross_encoder_max_len": "cross_encoder",
    "embedding_temperature": "embedding_model",
    "model": "endpoint",
    "passage_characters": "endpoint",
}


class TeacherAddresses(SettingsModel):
    """What is read and where the scores go, when the step is run by itself."""

    data: str = Field(
        min_length=1, description="Data set: a folder of ours, a BEIR folder or FlagEmbedding JSONL; local or s3://."
    )
    negatives: str = Field(
        "", description="Folder of mined negatives. Empty: the negatives that came with the data are scored."
    )
    output: str = Field(min_length=1, description="Folder to write the negatives and scores to; local or s3://.")


class TeacherSettings(LanguageModelSettings):
    """Who scores the training pairs. Of several teachers the scores are averaged, each standardised within a query."""

    group: ClassVar[str] = "teachers"
    key_variable: ClassVar[str] = KEY_VARIABLE

    cross_encoder: str | None = Field(
        None,
        min_length=1,
        description="Cross-encoder, whose output is the score: folder, s3:// address or hub id.",
    )
    cross_encoder_max_len: int = Field(512, ge=8, le=32768, description="Longest pair in tokens of the cross-encoder.")
    embedding_model: str | None = Field(
        None,
        min_length=1,
        description="Larger embedding model, with its own prompts: the score is the cosine of query and passage, "
        "divided by embedding_temperature. Folder, s3:// address or hub id.",
    )
    embedding_temperature: float = Field(
        0.02, gt=0, le=10, description="What embedding_model was trained with, which says what its differences mean."
    )
    endpoint: str = Field(
        "",
        max_length=2000,
        description="Address of an OpenAI-compatible API whose language model judges each pair from 0 to 3, such as "
        f"http://vllm:8000/v1; its key is in {KEY_VARIABLE}. local: a llama.cpp server that is started here.",
    )
    max_output_tokens: int = Field(
        64, ge=16, le=32768, description="Longest answer in tokens; more for models that think first."
    )
    passage_characters: int = Field(
        4000, ge=100, le=1_000_000, description="Of a passage so much is shown to the language model."
    )
    margin: float | None = Field(
        None,
        ge=0,
        le=1000,
        description="Leave out negatives that score above the query's lowest positive less this, in the teacher's own "
        "units; 0: those above it. Unset: none.",
    )
    relevance_level: RelevanceLevel = 1
    seed: int = Field(42, ge=0, le=2**31 - 1, description="Seed of the language model's draws and of the examples.")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for name, needed in _NEEDED.items():
            if getattr(self, name) != type(self).model_fields[name].default and not getattr(self, needed):
                raise ValueError(f"{name} has no effect without {needed}")
        if self.endpoint and not self.model:
            raise ValueError("endpoint needs model, the name of the language model there")
        return self

    @property
    def names(self) -> list[str]:
        """The settings that name a teacher, as far as they are set."""
        return [name for name in ("cross_encoder", "embedding_model", "endpoint") if getattr(self, name)]

    def check_teachers(self, where: str = "") -> None:
        """Raise InputError, naming settings with `where` before them, where no teacher is named."""
        if not self.names:
            raise InputError(
                f"{where}cross_encoder: no teacher is named; set {where}cross_encoder, {where}embedding_model or "
                f"{where}endpoint with {where}model"
            )


class StepSettings(TeacherSettings):
    """`TeacherSettings`, and whether the pipeline has the step."""

    enabled: bool = Field(
        False, description="Score positives and negatives by teachers before fine-tuning, for knowledge_distillation."
    )

    def decisive(self) -> dict[str, Any]:
        """The settings that the scores depend on."""
        return self.model_dump(mode="json", exclude=set(OF_ASKING))

    @property
    def addresses(self) -> list[str]:
        """The models that are read."""
        return [name for name in (self.cross_encoder, self.embedding_model) if name] if self.enabled else []
