"""How a model was used when it was measured, as evaluations record it and as pages show it, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# What decides the embeddings; equal values and equal weights mean equal figures.
DECISIVE = ("prompts", "query_prompts", "max_lengths", "pooling", "normalize", "dimension", "precision", "windows")
SHOWN_PROMPTS = 3


def same_usage(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two usages (``encoding`` in an evaluation's facts) give equal embeddings with equal weights."""
    return all(one.get(name) == other.get(name) for name in DECISIVE)


def usage_rows(usages: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """A table of usages, a row a setting.

    Args:
        usages: name of a model -> its usage; empty where its evaluation does not say it.

    Returns:
        (setting, its value for each model, in their order).
    """
    rows = {
        "query prompts": lambda usage: _prompts(usage.get("query_prompts")),
        "passage prompt": lambda usage: _quoted(usage.get("prompts", {}).get("passage")),
        "longest query (tokens)": lambda usage: _value(usage.get("max_lengths", {}).get("query")),
        "longest passage (tokens)": lambda usage: _value(usage.get("max_lengths", {}).get("passage")),
        "long passages": lambda usage: _windows(usage),
        "pooling": lambda usage: _value(usage.get("pooling")),
        "length 1": lambda usage: _value(usage.get("normalize")),
        "dimensions": lambda usage: _value(usage.get("dimension")),
        "precision": lambda usage: _value(usage.get("precision")),
        "settings": lambda usage: _value(usage.get("reason")),
    }
    return [(name, [value(usage) for usage in usages.values()]) for name, value in rows.items()]


def _prompts(counts: Mapping[str, int] | None) -> str:
    """The prompts that queries were given, the most frequent first, with how many had each where there are several."""
    if not counts:
        return "not recorded"
    if len(counts) == 1:
        return _quoted(next(iter(counts)))
    shown = [f"{_quoted(prompt)} ({count:,})" for prompt, count in list(counts.items())[:SHOWN_PROMPTS]]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def describe_windows(windows: str, overlap: int, longest: int) -> str | None:
    """In words, how passages longer than `longest` tokens are embedded, by `windows` with `overlap`; None: cut."""
    return None if windows == "none" else f"{windows} of windows of {longest:,} tokens that share {overlap:,}"


def _windows(usage: Mapping[str, Any]) -> str:
    if not usage:
        return "not recorded"
    vectors = usage.get("vectors_a_passage")
    return (usage.get("windows") or "cut") + (f"; {vectors:,.2f} vectors a passage" if vectors else "")


def _quoted(prompt: str | None) -> str:
    if prompt is None:
        return "not recorded"
    return json.dumps(prompt, ensure_ascii=False) if prompt else "none"


def _value(value: Any) -> str:
    if value is None:
        return "not recorded"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
