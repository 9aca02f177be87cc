"""The JSON object in an answer's content."""

from __future__ import annotations

import json
import re
from typing import Any

_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)


def json_object(content: object) -> dict[str, Any] | None:
    """The JSON object in a content, alone, in a code block or among words; None for none."""
    if not isinstance(content, str):
        return None
    text = _THOUGHT.sub("", content)
    fenced = _FENCE.search(text)
    start = (text := fenced[1] if fenced else text).find("{")
    if start < 0:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text[start:])
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
