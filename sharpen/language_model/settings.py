"""Settings of an endpoint that a step asks, which the steps' own models inherit."""

from __future__ import annotations

import re
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from sharpen.errors import InputError
from sharpen.settings import SettingsModel
from sharpen.uri import SCHEMES, check_endpoint, scheme_of

LOCAL = "local"


class LanguageModelSettings(SettingsModel):
    """Who is asked, how, and for how much.

    Attributes:
        group: name of the group of settings, for messages and for the cache's folder.
        key_variable: environment variable that holds the endpoint's key; no setting, log or artifact does.
    """

    group: ClassVar[str]
    key_variable: ClassVar[str]

    endpoint: str = Field(
        "",
        max_length=2000,
        description="Address of an OpenAI-compatible API, such as http://vllm:8000/v1. local: a llama.cpp server that "
        "is started here (extra sharpen[generation]).",
    )
    model: str = Field("", max_length=500, description="Name of the language model at the endpoint.")
    temperature: float = Field(0.0, ge=0, le=2, description="Randomness of the language model.")
    max_output_tokens: int = Field(512, ge=16, le=32768, description="Longest answer in tokens.")
    structured_output: Literal["auto", "json_schema", "json_object", "off"] = Field(
        "auto",
        description="How the endpoint is made to answer in JSON (response_format). auto: json_schema, or what it takes "
        "of json_object and nothing. Answers are validated in any case.",
    )
    concurrency: int = Field(8, ge=1, le=1000, description="Requests at the same time.")
    request_seconds: float = Field(120, gt=0, le=3600, description="Time that the endpoint has for an answer.")
    patience_seconds: float = Field(
        600, ge=0, le=86_400, description="How long an endpoint that is away or overloaded is waited for."
    )
    attempts: int = Field(2, ge=1, le=10, description="How often is asked until an answer is valid.")
    max_tokens: int | None = Field(
        None, ge=1, description="Budget in tokens, input and output; the step then ends with what is there."
    )
    max_cost: float | None = Field(None, gt=0, le=1e9, description="Budget in money, in the currency of the prices.")
    input_price: float = Field(0, ge=0, le=1e6, description="Price of a million tokens of input.")
    output_price: float = Field(0, ge=0, le=1e6, description="Price of a million tokens of output.")
    journal: str = Field(
        "auto",
        min_length=1,
        description="Folder of answers that were given, so that nothing is asked twice, even after a kill; local or "
        "s3://. auto: in $SHARPEN_CACHE, in a pipeline on a cluster in a folder of its store.",
    )

    @field_validator("endpoint")
    @classmethod
    def _address(cls, value: str) -> str:
        if value in (LOCAL, ""):
            return value
        try:
            check_endpoint(value, "the endpoint")
        except InputError as error:
            raise ValueError(error.faults[0]) from None
        if "?" in value or "#" in value:
            raise ValueError("is the beginning of an API's addresses, such as http://vllm:8000/v1, without ? and #")
        return value.rstrip("/")

    @field_validator("model")
    @classmethod
    def _no_key(cls, value: str) -> str:
        if re.match(r"sk-[\w-]{16,}$", value):
            raise ValueError(f"looks like a key; name a model, and put the key into {cls.key_variable}")
        return value

    @field_validator("journal")
    @classmethod
    def _check_journal(cls, value: str) -> str:
        if scheme_of(value) not in ("", *SCHEMES):
            raise ValueError("must be auto, a folder or an s3:// address")
        return value

    @model_validator(mode="after")
    def _budget(self) -> Self:
        if self.max_cost is not None and not (self.input_price or self.output_price):
            raise ValueError("max_cost needs input_price and output_price, else nothing costs anything")
        return self


OF_ASKING = ("concurrency", "request_seconds", "patience_seconds", "journal")
"""Settings that decide how an endpoint is asked, and not what comes of it."""
