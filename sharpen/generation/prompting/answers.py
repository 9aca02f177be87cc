"""What an answer says, validated: a JSON object of queries, or nothing."""

from __future__ import annotations

import json
import re

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)


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
    """The queries in an answer's content: a JSON object, alone, in a code block or among words; None for none."""
    if not isinstance(content, str):
        return None
    text = _THOUGHT.sub("", content)
    fenced = _FENCE.search(text)
    start = (text := fenced[1] if fenced else text).find("{")
    if start < 0:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text[start:])
        return Answer.model_validate(value)
    except (ValueError, RecursionError, ValidationError):
        return None
