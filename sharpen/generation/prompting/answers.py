"""What an answer says, validated: a JSON object of queries, or nothing."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sharpen.language_model.answers import json_object


class WrittenQuery(BaseModel):
    """A query as a language model wrote it."""

    model_config = ConfigDict(strict=True, frozen=True)

    style: str = Field(max_length=40)
    text: str = Field(max_length=20_000)


class Answer(BaseModel):
    """The answer to one request."""

    model_config = ConfigDict(strict=True, frozen=True)

    queries: list[WrittenQuery] = Field(min_length=1, max_length=1000)


def parse_answer(content: object) -> Answer | None:
    """The queries in an answer's content; None for none."""
    try:
        return Answer.model_validate(json_object(content))
    except ValidationError:
        return None
